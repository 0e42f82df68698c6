#!/bin/sh
# nginx: a web server of pages of 2 kB and 200 kB to 16 connections: kept, one a request, and packed on the way; the
# number of right answers and of their bytes is counted.
set -eu
# nginx.sh serve | ready | load
pages=$PROGRAM_SCRATCH/www

serve() {
    port=$((20000 + $$ % 12000)) # below those that the kernel gives to clients
    mkdir "$pages"
    awk 'BEGIN { for (i = 1; i <= 4000; i++) printf "%06d a line of a page with some words, %d of them\n", i, i * 7 % 13 }' >"$PROGRAM_SCRATCH/text"
    head -c 2000 "$PROGRAM_SCRATCH/text" >"$pages/small"
    head -c 200000 "$PROGRAM_SCRATCH/text" >"$pages/large"
    cat >"$PROGRAM_SCRATCH/nginx.conf" <<CONF
daemon off; master_process off; user $(id -un); pid $PROGRAM_SCRATCH/pid; error_log stderr;
events { worker_connections 256; }
http {
    access_log off; root $pages; gzip on; gzip_types *; gzip_min_length 100; keepalive_requests 1000000;
    client_body_temp_path $PROGRAM_SCRATCH/a; proxy_temp_path $PROGRAM_SCRATCH/b; fastcgi_temp_path $PROGRAM_SCRATCH/c;
    uwsgi_temp_path $PROGRAM_SCRATCH/d; scgi_temp_path $PROGRAM_SCRATCH/e;
    server { listen 127.0.0.1:$port; }
}
CONF
    echo "$port" >"$PROGRAM_SCRATCH/port"
    exec nginx -e stderr -p "$PROGRAM_SCRATCH" -c "$PROGRAM_SCRATCH/nginx.conf"
}

compare() {
    /usr/bin/python3 -S "$PROGRAM_INPUTS/nginx.py" "$(cat "$PROGRAM_SCRATCH/port")" "$pages"
}

# fetch NAME PAGE SIZE NUMBER OPTION...: so many answers of that size, and a line for the suite.
fetch() {
    name=$1 page=$2 size=$3 number=$(($4 / ${PROGRAM_PART-1}))
    shift 4
    rm -f "$PROGRAM_SCRATCH/each"
    h2load --h1 -c 16 -n "$number" --log-file="$PROGRAM_SCRATCH/each" "$@" \
        "http://127.0.0.1:$(cat "$PROGRAM_SCRATCH/port")/$page" >"$PROGRAM_SCRATCH/told"
    if ! grep -q "$number succeeded, 0 failed" "$PROGRAM_SCRATCH/told" || ! grep -q "($((number * size))) data" "$PROGRAM_SCRATCH/told"; then
        echo "nginx: $name: wanted $number answers of $size bytes: $(grep -E '^(requests|traffic):' "$PROGRAM_SCRATCH/told" | tr '\n' ' ')" >&2
        exit 1
    fi
    cut -f 3 "$PROGRAM_SCRATCH/each" | sort -n | awk -v name="$name" -v rate="$(sed -n 's|^finished in .*, \([0-9.]*\) req/s.*|\1|p' "$PROGRAM_SCRATCH/told")" \
        -f "$PROGRAM_INPUTS/points.awk"
}

load() {
    sizes=$(compare)
    fetch kept small "${sizes% *}" 10000
    fetch "one a request" small "${sizes% *}" 3000 -H 'Connection: close'
    fetch packed large "${sizes#* }" 1600 -H 'Accept-Encoding: gzip'
    [ "$(compare)" = "$sizes" ]
}

case $1 in
serve) serve ;;
ready) [ -s "$PROGRAM_SCRATCH/port" ] && compare >/dev/null 2>&1 ;;
load) load ;;
esac
