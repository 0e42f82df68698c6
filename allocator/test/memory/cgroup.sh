#!/bin/bash
# A real memory cgroup: its limit is kept in view, at start and, where asked for, later.
#   cgroup.sh PROGRAM PRELOAD   (as root, with a hierarchy that can be written)
set -euo pipefail
program=$1 preload=$2
group=
for mount in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    [[ -e $mount/cgroup.procs ]] || continue
    mkdir "$mount/mymalloc-test-$$" 2>/dev/null || continue
    group=$mount/mymalloc-test-$$
    break
done
[[ -n $group ]] || { echo "SKIP: no cgroup can be made here"; exit 77; }
trap 'rmdir "$group"' EXIT
limit=$group/memory.max
[[ -e $limit ]] || limit=$group/memory.limit_in_bytes
[[ -e $limit ]] || { echo "SKIP: the hierarchy has no memory controller"; exit 77; }

# in_group VARIABLE=VALUE ARGUMENTS...: the program, a member of the group, with the preload library.
in_group() {
    (
        echo "$BASHPID" >"$group/cgroup.procs"
        exec env "$1" LD_PRELOAD="$preload" "$program" "${@:2}"
    )
}
echo "limit before the start:"
echo 100M >"$limit"
in_group MYMALLOC_CGROUP=start before
echo "limit that is not looked at:"
if in_group MYMALLOC_CGROUP=off before; then
    echo "nothing stays even so: this test shows nothing"
    exit 1
fi
echo "another size each time, of 64 MiB:"
echo 64M >"$limit"
in_group MYMALLOC_CGROUP=start other 40
echo "limit while it runs, watched:"
echo 1G >"$limit"
in_group MYMALLOC_CGROUP=watch after "$limit" 100M
