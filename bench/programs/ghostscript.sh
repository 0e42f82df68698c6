#!/bin/sh
# ghostscript: ten pages of text and curves drawn from PostScript into images.
set -eu
awk 'BEGIN {
    print "%!PS\n/Helvetica findfont 9 scalefont setfont"
    for (page = 1; page <= 10; page++) {
        for (y = 780; y > 20; y -= 10) printf "20 %d moveto (line %d of page %d: the quick brown fox jumps over the lazy dog) show\n", y, y, page
        for (i = 0; i < 400; i++) printf "newpath %d %d moveto %d %d %d %d %d %d curveto 0.3 setlinewidth stroke\n",
            (i * 37) % 600, (i * 91) % 800, (i * 53) % 600, (i * 11) % 800, (i * 7) % 600, (i * 29) % 800, (i * 71) % 600, (i * 13) % 800
        print "showpage"
    }
}' >"$PROGRAM_SCRATCH/pages.ps"
gs -q -dSAFER -dBATCH -dNOPAUSE -sDEVICE=pnggray -r72 -dTextAlphaBits=4 -o "$PROGRAM_SCRATCH/page%02d.png" "$PROGRAM_SCRATCH/pages.ps"
[ "$(find "$PROGRAM_SCRATCH" -name 'page*.png' -size +1k | wc -l)" -eq 10 ] || { echo "ghostscript: pages are missing" >&2; exit 1; }
