#!/bin/bash
# perl: hashes, sorting, regular expressions, strings that grow, fork, sort of objects.
source "$(dirname "$0")/lib.sh"
need perl
loads perl
cat >"$work/script" <<'SCRIPT'
use strict;
use warnings;
my %hash;
$hash{"key " . ($_ * 7919 % 200003)} = [$_, "value $_", { n => $_ }] for 1 .. 120000;
my $sum = 0;
$sum += $hash{$_}[2]{n} for sort keys %hash;
print "$sum\n";
my $text = "";
$text .= "word$_ " for 1 .. 200000;
(my $copy = $text) =~ s/(\w+?)(\d+)/$2$1/g;
print length($copy), " ", unpack("%32C*", $copy), "\n";
for my $i (1 .. 5) {
    my $child = fork() // die;
    if (!$child) { my @x = map { "x" x $_ } 1 .. 2000; exit(@x == 2000 ? $i : 99) }
    waitpid($child, 0);
    print $? >> 8, "\n";
}
SCRIPT
same perl "$work/script"
