#!/bin/sh
# ruby: hashes, strings and short-lived objects under the collector.
set -eu
exec ruby --disable-gems -e '
index = Hash.new { |hash, key| hash[key] = [] }
seed = 1
lines = Array.new(40000) do
  Array.new(10) { seed = (seed * 1103515245 + 12345) % 2147483648; "w#{(seed >> 8) % 5000}" }.join(" ")
end
lines.each_with_index { |line, n| line.split(" ").each { |word| index[word] << n } }
longest = lines.map { |line| line.gsub(/w(\d)/, "x\\1\\1") }.max_by(&:size)
Node = Struct.new(:left, :right)
def tree(depth) = depth.zero? ? Node.new : Node.new(tree(depth - 1), tree(depth - 1))
def count(node) = node.left ? 1 + count(node.left) + count(node.right) : 1
nodes = Array.new(12) { count(tree(13)) }.sum
abort "lost words" unless index.values.sum(&:size) == 400000 && nodes == 12 * 16383 && longest.start_with?("x")
'
