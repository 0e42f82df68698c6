#!/bin/bash
# The C++ header by another compiler, standard or library: its test built and run, and a
# program without exceptions and RTTI.
#   cxx.sh LIBRARY-DIRECTORY COMPILER [OPTION...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
(($# >= 2)) || { sed -n '4s/^# *//p' "$0"; exit 2; }
library=$1
shift
compiler=("$@")
command -v "${compiler[0]}" >/dev/null || { echo "SKIP: no ${compiler[0]}"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
compile=("${compiler[@]}" -O1 -g -Wall -Wextra -Wshadow -Wpedantic -Werror -Wno-variadic-macros
    -Wno-gnu-zero-variadic-macro-arguments -D_GNU_SOURCE -I "$here/../lib" -I "$here/../../include")

cat >"$work/plain.cc" <<'END'
#include <mymalloc/memory_resource.hpp>
#include <vector>
int main()
{
    std::vector<int, mymalloc::allocator<int>> numbers(1000, 1);
#if defined(__cpp_lib_memory_resource)
    std::pmr::vector<int> others(numbers.begin(), numbers.end(), mymalloc::resource());
    if (!mymalloc::resource()->is_equal(*mymalloc::resource()) || others[999] != 1)
        return 1;
#endif
    /* No exception can tell: abort(3). */
    return numbers.size() == 1000 ? 0 : 1;
}
END
"${compile[@]}" -fno-exceptions -fno-rtti -o "$work/plain" "$work/plain.cc" "$library/libmymalloc.a" -pthread
"$work/plain"

# What C has is there for the oldest C++ too, and in silence; so it is for the oldest C.
printf '#include <mymalloc/%s>\n' mymalloc.h arena.h >"$work/old.cc"
echo 'int main(void) { MyFree(MyMalloc(8)); }' >>"$work/old.cc"
"${compile[@]}" -std=c++98 -Wvariadic-macros -o "$work/old" "$work/old.cc" "$library/libmymalloc.a" -pthread
"$work/old"
gcc -std=c89 -Wall -Wextra -pedantic -Werror -I "$here/../../include" -fsyntax-only -x c "$work/old.cc"

for part in check family main; do
    gcc -O1 -g -std=gnu11 -D_GNU_SOURCE -DTEST_MY -I "$here/../lib" -I "$here/../../include" \
        -c -o "$work/$part.o" "$here/../lib/$part.c"
done
"${compile[@]}" -o "$work/program" "$here/memory_resource.cc" "$work"/*.o "$library/libmymalloc.a" -pthread -ldl
"$work/program"
