#!/bin/sh
# git: a repository made of generated files, packed as gc packs it.
set -eu
cd "$PROGRAM_SCRATCH"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
git init -q repo
awk 'BEGIN {
    print "blob\nmark :1\ndata 0\n"
    for (c = 1; c <= 400; c++) {
        print "commit refs/heads/main\ncommitter A <a@example.org> " 1000000000 + c " +0000\ndata 2\nx\n"
        for (f = 0; f < 5; f++) {
            text = ""
            for (l = 0; l < 60; l++) text = text "line " l " of file " f (l % 17 == c % 17 ? " changed in " c : "") "\n"
            printf "M 100644 inline file%d/%d\ndata %d\n%s\n", f, c % 40, length(text), text
        }
    }
}' | git -C repo fast-import --quiet
git -C repo -c gc.auto=0 -c pack.threads=1 repack -adfq --depth=50 --window=50
exec git -C repo log --stat -p --all >/dev/null
