#!/bin/bash
# git: commit, branch, merge, clone, gc with threads, fsck.
source "$(dirname "$0")/lib.sh"
need git
loads git
export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z'
export HOME=$work GIT_CONFIG_NOSYSTEM=1
build() {
    git init -q -b main "$1"
    cd "$1"
    for i in 1 2 3 4 5 6; do
        cp -r /usr/include/linux "tree$i"
        echo "$i" >"tree$i/marker"
        git add . && git commit -q -m "tree $i"
    done
    git checkout -q -b side HEAD~3
    echo side >side && git add side && git commit -q -m side
    git merge -q -m merge main
    git rev-parse HEAD
    cd "$work"
}
export -f build
export work
expected=$(build "$work/plain")
# shellcheck disable=SC2016 # awk and the inner shell expand it
got=$(with bash -c 'build "$work/ours"')
[[ $expected == "$got" ]] || fail "the commit is $got, without mymalloc $expected"
with git -C "$work/ours" -c pack.threads=4 gc -q --aggressive --prune=now
with git clone -q --no-local "$work/ours" "$work/clone"
with git -C "$work/clone" fsck --full --strict 2>&1 | grep -E 'error|missing|corrupt' && fail "git fsck"
[[ $(with git -C "$work/clone" rev-parse HEAD) == "$expected" ]] || fail "the clone differs"
diff -r "$work/clone/tree6" /usr/include/linux | grep -v '^Only in .*: marker' && fail "the files differ"
exit 0
