#!/bin/sh
# nginx: a web server under the allocator serves small and large pages to ab, which runs without it.
set -eu
port=$((20000 + $$ % 20000))
mkdir "$PROGRAM_SCRATCH/www"
head -c 2000 /dev/zero >"$PROGRAM_SCRATCH/www/small"
head -c 200000 /dev/zero >"$PROGRAM_SCRATCH/www/large"
cat >"$PROGRAM_SCRATCH/nginx.conf" <<CONF
daemon off; master_process off; user $(id -un); pid $PROGRAM_SCRATCH/pid; error_log $PROGRAM_SCRATCH/log;
events { worker_connections 256; }
http {
    access_log off; root $PROGRAM_SCRATCH/www; gzip on; gzip_types *; gzip_min_length 100; keepalive_requests 100000;
    client_body_temp_path $PROGRAM_SCRATCH/a; proxy_temp_path $PROGRAM_SCRATCH/b; fastcgi_temp_path $PROGRAM_SCRATCH/c;
    uwsgi_temp_path $PROGRAM_SCRATCH/d; scgi_temp_path $PROGRAM_SCRATCH/e;
    server { listen 127.0.0.1:$port; }
}
CONF
nginx -p "$PROGRAM_SCRATCH" -c "$PROGRAM_SCRATCH/nginx.conf" 2>"$PROGRAM_SCRATCH/log" &
server=$!
unset LD_PRELOAD LD_DEBUG LD_DEBUG_OUTPUT
tries=0
until ab -q -n 1 "http://127.0.0.1:$port/small" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 500 ] || ! kill -0 "$server" 2>/dev/null; then
        tail -n 3 "$PROGRAM_SCRATCH/log" >&2
        exit 1
    fi
    sleep 0.01
done
{
    ab -q -n 10000 -c 16 -k "http://127.0.0.1:$port/small"
    ab -q -n 3000 -c 16 "http://127.0.0.1:$port/small"
    ab -q -n 1000 -c 16 -k -H 'Accept-Encoding: gzip' "http://127.0.0.1:$port/large"
} >"$PROGRAM_SCRATCH/load"
kill -QUIT "$server"
wait "$server"
[ "$(grep -c '^Failed requests: *0$' "$PROGRAM_SCRATCH/load")" -eq 3 ] || { grep requests "$PROGRAM_SCRATCH/load" >&2; exit 1; }
