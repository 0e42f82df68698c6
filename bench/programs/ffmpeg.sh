#!/bin/sh
# ffmpeg: four seconds of a test picture at 1280x720 encoded by x264 without loss, decoded, and compared frame by frame;
# buffers of some MB.
set -eu
seconds=4
[ "${PROGRAM_PART-1}" -eq 1 ] || seconds=0.2
frames="-map 0:v -pix_fmt yuv420p" sum="-c:v rawvideo -f md5"
# shellcheck disable=SC2086  # options
ffmpeg -nostdin -v error -f lavfi -i "testsrc2=size=1280x720:rate=25:duration=$seconds" \
    $frames -c:v libx264 -threads 2 -preset veryfast -qp 0 "$PROGRAM_SCRATCH/out.mkv" $frames $sum "$PROGRAM_SCRATCH/source"
# shellcheck disable=SC2086
ffmpeg -nostdin -v error -threads 2 -i "$PROGRAM_SCRATCH/out.mkv" $frames $sum "$PROGRAM_SCRATCH/decoded"
cmp "$PROGRAM_SCRATCH/source" "$PROGRAM_SCRATCH/decoded" >&2 || { echo "ffmpeg: what was decoded is not what was encoded" >&2; exit 1; }
