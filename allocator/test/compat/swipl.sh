#!/bin/bash
# SWI-Prolog: Debian links it with tcmalloc, whose MallocExtension it looks up, asks for numbers
# and tells that a thread is idle. Threads, garbage collection, big numbers, atoms.
source "$(dirname "$0")/lib.sh"
need swipl
loads swipl
cat >"$work/script.pl" <<'SCRIPT'
:- initialization(main).
list(0, []) :- !.
list(N, [N|Tail]) :- M is N - 1, list(M, Tail).
work(Size) :-
    list(Size, List), msort(List, Sorted), length(Sorted, Size),
    forall(member(X, List), (atom_concat(atom_, X, Atom), atom_length(Atom, _))),
    garbage_collect_atoms.
main :-
    numlist(1, 200000, Numbers), sum_list(Numbers, Sum), print(Sum), nl,
    Big is 7 ** 20000, Digits is Big mod 1000000007, print(Digits), nl,
    findall(Thread, (between(1, 12, _), thread_create(work(5000), Thread, [])), Threads),
    maplist(thread_join, Threads),
    findall(Square, (between(1, 50000, N), Square is N * N), Squares), last(Squares, Last), print(Last), nl,
    garbage_collect, trim_stacks, halt.
SCRIPT
same swipl "$work/script.pl"
MYMALLOC_FRONTEND=tls same swipl "$work/script.pl"

# Whose heap its numbers tell of, where it has any: megabytes are in use.
told() { "$@" swipl -g 'forall(catch(malloc_property(P), _, fail), (print(P), nl))' -t halt; }
[[ -n $(told env) ]] || { echo "this swipl knows no tcmalloc: its numbers are left out"; exit 0; }
bytes=$(told with | sed -n "s/^'generic.current_allocated_bytes'(\([0-9]*\))$/\1/p")
((${bytes:-0} > 1000000)) || fail "tcmalloc's numbers are of a heap with ${bytes:-none} bytes"
