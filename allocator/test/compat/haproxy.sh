#!/bin/bash
# HAProxy: on SIGQUIT it empties its pools and gives memory back, by the mallctl that it finds here
# (arena.0.purge). Requests through two of its proxies, and a reload.
source "$(dirname "$0")/lib.sh"
PATH=$PATH:/usr/sbin
need haproxy perl
loads haproxy
cat >"$work/conf" <<EOC
global
    nbthread 4
    stats socket $work/control level admin
    user $(id -un)
defaults
    mode http
    option http-buffer-request
    timeout connect 100s
    timeout client 100s
    timeout server 100s
frontend outer
    bind unix@$work/outer
    default_backend inner
backend inner
    http-request set-header X-Long "%[rand(1000000)]-%[uuid]"
    server s unix@$work/inner
frontend inner
    bind unix@$work/inner
    http-request return status 200 content-type text/plain lf-string "%[req.hdr(X-Long),length] %[path] %[req.body_len]"
EOC
haproxy -c -f "$work/conf" >"$work/log" 2>&1 || fail "the configuration: $(cat "$work/log")"
LD_PRELOAD=$MYMALLOC_PRELOAD haproxy -W -f "$work/conf" >>"$work/log" 2>&1 &
servers+=($!)
# requests COUNT BYTES: each by a connection of its own, with a body of so many bytes
requests() {
    perl -MIO::Socket::UNIX -e 'my ($path, $count, $bytes) = @ARGV;
        for my $i (1 .. $count) {
            my $s = IO::Socket::UNIX->new($path) or die "no connection: $!\n";
            print $s "POST /p$i HTTP/1.0\r\nContent-Length: $bytes\r\n\r\n", "x" x $bytes; local $/; my $a = <$s>;
            $a =~ m{^HTTP/1\S+ 200 .*\r\n\r\n\d\d \Q/p$i\E \d+$}s or die "request $i: $a\n" }' "$work/outer" "$@"
}
control() { perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new($ARGV[0]) or exit 1; print $s "$ARGV[1]\n"; print <$s>' "$work/control" "$1"; }
until_true requests 1 10
worker() { control "show info" | sed -n 's/^Pid: //p'; }
took "$(worker)"
for ((round = 1; round <= 3; round++)); do
    requests 300 $((round * 4000)) || fail "round $round"
    before=$(worker)
    control "show pools" | grep '^Total: ' >/dev/null || fail "show pools"
    dumps=$(grep -c '^Dumping pools usage' "$work/log") || true
    kill -QUIT "$before" # "dumping pools": what they hold goes back
    requests 50 100 || fail "after SIGQUIT"
    (($(grep -c '^Dumping pools usage' "$work/log") > dumps)) || fail "SIGQUIT was not heard: $(cat "$work/log")"
    [[ $(worker) == "$before" ]] || fail "the worker ended: $(tail -3 "$work/log")"
done
kill -USR2 "${servers[0]}" # a new worker takes over
another() { [[ $(worker) != "$before" ]]; }
until_true another
requests 100 100 || fail "after a reload"
kill -USR1 "${servers[0]}"
status=0
wait "${servers[0]}" || status=$?
((status == 0 || status == 143)) || fail "haproxy ended with $status: $(tail -3 "$work/log")"
if grep -E 'signal (6|11)|exited with code 1[3-9]|mymalloc:' "$work/log"; then
    fail "haproxy had trouble"
fi
