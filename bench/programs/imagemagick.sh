#!/bin/sh
# imagemagick: an image of 12 megapixels drawn, blurred, turned and made small; buffers of 100 MB.
set -eu
/usr/bin/convert -limit thread 1 -size 4000x3000 gradient:navy-orange -rotate 90 -blur 0x1 -resize 25% "$PROGRAM_SCRATCH/small.ppm"
[ "$(head -c 15 "$PROGRAM_SCRATCH/small.ppm" | head -n 2 | tr '\n' ' ')" = "P6 750 1000 " ] || { echo "imagemagick: the image has another size" >&2; exit 1; }
