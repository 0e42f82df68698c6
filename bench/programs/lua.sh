#!/bin/sh
# lua: tables, strings and closures under the collector.
set -eu
exec lua5.4 -e '
local function tree(depth)
  if depth == 0 then return {} end
  return {tree(depth - 1), tree(depth - 1)}
end
local function count(node)
  if not node[1] then return 1 end
  return 1 + count(node[1]) + count(node[2])
end
local long = tree(16)
local total = 0
for i = 1, 40 do total = total + count(tree(13)) end
local parts, index = {}, {}
for i = 1, 300000 do
  local word = "k" .. (i * 7919 % 50000)
  index[word] = (index[word] or 0) + 1
  if i % 3 == 0 then parts[#parts + 1] = word .. ":" .. i end
end
table.sort(parts)
local text = table.concat(parts, ",")
local seen = 0
for _ in text:gmatch("k%d+") do seen = seen + 1 end
assert(count(long) == 131071 and total == 40 * 16383 and seen == #parts)
'
