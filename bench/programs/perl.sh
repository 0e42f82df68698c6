#!/bin/sh
# perl: hashes of arrays, strings, sorting and regular expressions.
set -eu
exec perl -e '
my (%index, @lines);
my $seed = 1;
for my $i (1 .. 60000) {
    $seed = ($seed * 1103515245 + 12345) % 2147483648;
    push @lines, join " ", map { "w" . (($seed >> $_) % 5000) } 1 .. 10;
}
for my $n (0 .. $#lines) {
    push @{ $index{$_} }, $n for split / /, $lines[$n];
}
my $sum = 0;
for my $word (sort { @{ $index{$b} } <=> @{ $index{$a} } || $a cmp $b } keys %index) {
    $sum += @{ $index{$word} };
}
s/w(\d)/x$1$1/g for @lines;
die "lost words" unless $sum == 600000;
' >/dev/null
