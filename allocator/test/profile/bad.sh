#!/bin/bash
# A profile that cannot be taken or written: one line that says why, and the program goes on.
#
#   bad.sh LIBRARY      the preload library
set -euo pipefail
library=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
faults=0
# Not a shell, which ends by _exit, nor of the coreutils, which close standard error before.
program=(perl -e 'print "done\n"')

# said PROFILE COMMAND...: what it says on standard error; its output is to be "done".
said() {
    local profile=$1 out
    shift
    out=$(MYMALLOC_PROFILE=$profile LD_PRELOAD=$library "$@" 2>"$work/said") || out+=", status $?"
    [ "$out" = "done" ] || echo "the program did not go on: '$out'"
    cat "$work/said"
}
expect() { # "TEXT" PROFILE [COMMAND...]
    local wanted=$1 profile=$2 got
    shift 2
    (($# > 0)) || set -- "${program[@]}"
    got=$(said "$profile" "$@")
    [ "$got" = "$wanted" ] && return
    printf 'MYMALLOC_PROFILE=%s\nsaid: %s\nnot:  %s\n' "$profile" "$got" "$wanted"
    faults=1
}
refused() { # PROFILE WHAT
    expect "mymalloc: MYMALLOC_PROFILE=$1: ignored, $2 is not understood; \
accepted: /PATH[,every=BYTES][,stacks=1-64][,signal=USR1|USR2|35-64][,form=proto|text]" "$1"
}

refused out.pb "the value"
for option in every=0 every=2048G every=12x every= form=svg form=textual stacks=0 stacks=65 stacks=deep \
    signal=KILL signal=USR22 signal=9 signal=34 signal=65 signal= ""; do
    refused "$work/out,$option" "'$option'"
    refused "$work/out,every=1,$option,form=text" "'$option'"
done
[ ! -e "$work/out" ] || { echo "a refused profile made a file"; faults=1; }
expect "" "$work/last,signal=64"
expect "mymalloc: MYMALLOC_PROFILE: no heap profile: no such folder" "$work/none/out"
expect "mymalloc: MYMALLOC_PROFILE: no heap profile: it is a folder" "$work"
expect "mymalloc: /dev/full: no heap profile: no space left" /dev/full
expect "mymalloc: /dev/full: no heap profile: no space left" /dev/full,form=text
mkfifo "$work/pipe"
expect "mymalloc: MYMALLOC_PROFILE: no heap profile: it is a pipe that nobody reads" "$work/pipe"
# Read slowly: more than a pipe holds (a page, as its reader has it) is waited for.
cat > "$work/slow.py" <<'END'
import fcntl, os, subprocess, sys, time
pipe = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
fcntl.fcntl(pipe, 1031, 4096)  # F_SETPIPE_SZ
program = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL, env=os.environ | {"MYMALLOC_PROFILE": sys.argv[1] + ",every=1"})
read, ended = 0, False
while not ended:
    time.sleep(0.01)
    ended = program.poll() is not None
    try:
        read += len(os.read(pipe, 65536))
    except BlockingIOError:
        pass
print(read)
END
read=$(LD_PRELOAD='' python3 "$work/slow.py" "$work/pipe" env "LD_PRELOAD=$library" "${program[@]}" 2> "$work/said")
if [ "$read" -le 8192 ] || [ -s "$work/said" ]; then
    echo "of a pipe that is read slowly $read bytes came: $(cat "$work/said")"
    faults=1
fi
if [ "$(id -u)" -ne 0 ]; then
    expect "mymalloc: MYMALLOC_PROFILE: no heap profile: permission denied" /out
fi
# The folder goes while the program runs; and the file can be written over and over.
mkdir "$work/gone"
# shellcheck disable=SC2016  # of perl's
expect "mymalloc: $work/gone/out: no heap profile: no such folder" "$work/gone/out" \
    perl -e 'unlink "$ARGV[0]/out"; rmdir $ARGV[0]; print "done\n"' "$work/gone"
# A limit on files that the program was given: SIGXFSZ is not for what it did not write.
limited=(bash -c 'ulimit -f 1; exec "$@"' limited "${program[@]}")
expect "mymalloc: $work/long: no heap profile: the limit on the length of files is reached" "$work/long,every=1" "${limited[@]}"
MYMALLOC_STATS=$work/stats expect "mymalloc: $work/stats: no statistics: the limit on the length of files is reached" "" "${limited[@]}"
[ ! -e "$work/stats.new" ] || { echo "half of a file of statistics is left over"; faults=1; }
# Nor is SIGPIPE, nor what is said: whatever it is that cannot be written to.
goes_on() { # WHAT COMMAND...: its output is to be "done"
    local what=$1 out
    shift
    out=$("$@" 2>"$work/said") || out+=", status $?"
    [ "$out" = "done" ] && return
    echo "$what: the program did not go on: '$out' $(cat "$work/said")"
    faults=1
}
# shellcheck disable=SC2016  # of perl's
unread=(perl -e 'pipe(R, W); close R; open STDERR, ">&", W; $SIG{PIPE} = "DEFAULT"; exec @ARGV')
here=(env "LD_PRELOAD=$library")
goes_on "a line for nobody" "${unread[@]}" "${here[@]}" MYMALLOC_VERBOSE=1 "${program[@]}"
goes_on "statistics for nobody" "${unread[@]}" "${here[@]}" MYMALLOC_STATS=/dev/stderr "${program[@]}"
goes_on "a line beyond the limit" bash -c 'ulimit -f 0; exec "$@"' limited "${here[@]}" MYMALLOC_VERBOSE=1 "${program[@]}"
cat > "$work/leave.py" <<'END'
import fcntl, os, subprocess, sys, termios, time
pipe = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
fcntl.fcntl(pipe, 1031, 4096)  # F_SETPIPE_SZ
program = subprocess.Popen(sys.argv[2:], env=os.environ | {"MYMALLOC_PROFILE": sys.argv[1] + ",every=1"})
while program.poll() is None and fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) == bytes(4):
    time.sleep(0.01)
os.close(pipe)
sys.exit(program.wait())
END
goes_on "a reader that leaves" python3 "$work/leave.py" "$work/pipe" "${here[@]}" "${program[@]}"
[ "$(cat "$work/said")" = "mymalloc: $work/pipe: no heap profile: it is a pipe that nobody reads" ] ||
    { echo "a reader that leaves: $(cat "$work/said")"; faults=1; }
for i in 1 2; do
    expect "" "$work/fine,every=1" "${program[@]}"
    [ "$(stat -c %s "$work/fine")" -gt 1000 ] || { echo "no profile the $i. time"; faults=1; }
done
# What was there goes, also what comes to be there while the program runs.
truncate -s 1M "$work/fine"
# shellcheck disable=SC2016  # of perl's
expect "" "$work/fine" perl -e 'print "done\n"; truncate $ARGV[0], 2 << 20' "$work/fine"
[ "$(stat -c %s "$work/fine")" -lt 65536 ] || { echo "a longer file keeps its end"; faults=1; }
# A path of any bytes: strings of the format are UTF-8, and the file is found.
# None are halves of a pair, what could be shorter, and what is beyond the last character.
odd=$work/$'odd \n%\377\xe4\xb8\x80\xed\x9f\xbf\xed\xa0\x80\xe0\x9f\x80\xf0\x8f\x80\x80\xf0\x90\x80\x80\xf4\x90\x80\x80\xc2'
mkdir "$odd"
cp "$(realpath "$(command -v perl)")" "$odd/perl"
expect "" "$work/odd.pb,every=1" "$odd/perl" -e 'print "done\n"'
home=$(dirname "$0")
python3 -B - "$work/odd.pb" <<END || faults=1
import pathlib, sys
sys.path.insert(0, "$home")
import proto
own = [m for m in proto.read(pathlib.Path(sys.argv[1])).mappings.values() if m.file.endswith("/perl")]
wanted = "/odd |012%|377\u4e00\ud7ff|355|240|200|340|237|200|360|217|200|200\U00010000|364|220|200|200|302/"
if not own or wanted.replace("|", chr(92)) not in own[0].file or not own[0].build_id:
    sys.exit(f"of a program in an odd folder the profile has {own}")
END
PYTHONIOENCODING=utf-8 "$home/../../../ci/packaging/prof/mymalloc-prof" top "$work/odd.pb" > "$work/top" 2>&1
grep -q Perl_ "$work/top" || { echo "names in a file of an odd folder are not found:"; head -5 "$work/top"; faults=1; }
exit $faults
