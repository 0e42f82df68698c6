#!/bin/bash
# nginx: master and workers, static files, reload while serving.
source "$(dirname "$0")/lib.sh"
PATH=$PATH:/usr/sbin
need nginx perl
loads nginx
socket=$work/socket # no port, which another test might take
mkdir "$work/html"
head -c 300000 /dev/urandom >"$work/html/file"
cat >"$work/conf" <<EOC
daemon off;
worker_processes 2;
pid $work/pid;
error_log $work/error.log;
events { worker_connections 64; }
http {
    access_log $work/access.log;
    client_body_temp_path $work/body;
    proxy_temp_path $work/proxy;
    fastcgi_temp_path $work/fastcgi;
    uwsgi_temp_path $work/uwsgi;
    scgi_temp_path $work/scgi;
    server { listen unix:$socket; root $work/html; }
}
EOC
LD_PRELOAD=$MYMALLOC_PRELOAD nginx -c "$work/conf" 2>"$work/stderr" &
servers+=($!)
fetch() {
    perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new($ARGV[0]) or exit 1;
        print $s "GET /file HTTP/1.0\r\nHost: x\r\n\r\n"; local $/; my $a = <$s>;
        $a =~ s/.*?\r\n\r\n//s; print $a' "$socket"
}
until_true fetch
took "${servers[0]}"
for i in {1..60}; do
    fetch | cmp - "$work/html/file" || fail "request $i came back different"
    ((i % 20)) || kill -HUP "${servers[0]}"
done
kill -QUIT "${servers[0]}"
wait "${servers[0]}" || fail "nginx ended badly: $(cat "$work/error.log")"
grep -E 'alert|emerg|signal 6|signal 11' "$work/error.log" && fail "nginx logged trouble"
exit 0
