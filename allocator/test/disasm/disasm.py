#!/usr/bin/python3
"""Check the restartable sequences of a built library, instruction by instruction.

For each descriptor in section __rseq_cs:
  - one store to the slot, and it is the sequence's last instruction (the commit);
  - other stores only in push, one, and not to the slot;
  - no call, no system call, every jump leaves it;
  - the instructions before it arm it; the signature that the kernel asks for stands before
    the abort entry, which leads out of it, never back into it or to what armed it;
  - who walks a stack from the abort entry is told that it returns to where it leads.
The child of vfork returns by a jump.
The length of each sequence, and the shortest way through malloc and free that commits,
are compared with the prices written in the sources.
"""

import argparse
import re
import struct
import subprocess
import sys
from collections import deque
from pathlib import Path

HEADER = {"x86_64": "rseq_x86_64.h", "aarch64": "rseq_aarch64.h"}
SIGNATURE = {"x86_64": 0x53053053, "aarch64": 0xD428BC00}
KINDS = ("pop", "push", "swap", "take", "put", "lone")
ARMING = {"x86_64": 2, "aarch64": 3}  # instructions from label 0 to label 1


class Bad(Exception):
    pass


class Instruction:
    def __init__(self, address, size, text):
        self.address, self.size = address, size
        self.next = address + size
        text = " ".join(re.sub(r"\s+(#|//) .*$", "", re.sub(r"<[^>]*>", "", text)).split())
        self.name, _, self.operands = text.partition(" ")
        if self.name in ("notrack", "bnd", "lock", "rep", "repz"):
            self.name, _, self.operands = self.operands.strip().partition(" ")
        self.operands = self.operands.strip()

    def __str__(self):
        return f"{self.address:x}: {self.name} {self.operands}"

    def target(self):
        """Where it may jump to, or None."""
        last = self.operands.split(",")[-1].strip()
        jumps = re.fullmatch(r"j\w+|b|b\.\w+|cbn?z|tbn?z", self.name)
        return int(last, 16) if jumps and re.fullmatch(r"(0x)?[0-9a-f]+", last) else None

    def falls_through(self):
        return self.name not in ("jmp", "b", "ret", "retq", "br", "ud2", "brk", "hlt", "udf")

    def calls(self):
        return re.match(r"call|bl$|blr|syscall|sysenter|svc|int$", self.name) is not None

    def store(self):
        """The memory operand it writes, or None."""
        if self.name.startswith(("str", "stp", "stur")):
            return self.operands[self.operands.index("["):]
        if self.name.startswith(("cmp", "test", "j", "call", "lea", "nop", "ld", "prefetch")):
            return None
        last = re.search(r"(?:^|,)\s*([^,()]*\([^()]*\)|%[fg]s:[^,]*)$", self.operands)
        return last.group(1).strip() if last else None

    def loads_from(self, operand):
        return operand in self.operands and self.store() != operand


class Binary:
    def __init__(self, path, prefix):
        self.path, self.prefix = path, prefix
        self.machine = self.read_machine()
        self.objects = {}  # by name, address and size
        self.sections = self.read_sections()
        self.code, self.symbols = self.disassemble()
        self.order = sorted(self.code)
        self.unwound = self.read_unwinding()

    def tool(self, name, *arguments):
        command = [self.prefix + name, *arguments, str(self.path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def read_machine(self):
        header = self.tool("readelf", "-hW")
        for name, words in (("x86_64", "X86-64"), ("aarch64", "AArch64")):
            if words in header:
                return name
        raise Bad(f"{self.path}: neither x86-64 nor aarch64")

    def read_sections(self):
        found = {}
        pattern = r"\]\s+(\S+)\s+\S+\s+([0-9a-f]{16})\s+([0-9a-f]+)\s+([0-9a-f]+)"
        for match in re.finditer(pattern, self.tool("readelf", "-SW")):
            name, address, offset, size = match.groups()
            found[name] = (int(address, 16), int(offset, 16), int(size, 16))
        return found

    def disassemble(self):
        code, symbols = {}, {}
        for line in self.tool("objdump", "-d", "--wide").splitlines():
            label = re.match(r"([0-9a-f]+) <(.+)>:$", line)
            entry = re.match(r"\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t(.+)$", line)
            if label:
                symbols[label.group(2)] = int(label.group(1), 16)
            elif entry:
                address = int(entry.group(1), 16)
                size = len(entry.group(2).replace(" ", "")) // 2
                code[address] = Instruction(address, size, entry.group(3))
        pattern = r":\s+([0-9a-f]{16})\s+(\d+)\s+(FUNC|OBJECT)\s.*\s(\S+)$"
        for match in re.finditer(pattern, self.tool("readelf", "-sW"), re.M):
            address, size, kind, name = match.groups()
            if kind == "FUNC":
                symbols[name] = int(address, 16)
            else:
                self.objects[name] = int(address, 16), int(size)
        return code, symbols

    def read_unwinding(self):
        """What unwind tables say of each place: by its start its end, the letters of the table, the rest."""
        letters, found = {}, {}
        for entry in self.tool("readelf", "--debug-dump=frames", "-W").split("\n\n"):
            table = re.search(r"^([0-9a-f]+) [0-9a-f]+ [0-9a-f]+ CIE\n(.*)", entry, re.M | re.S)
            place = re.search(r"FDE cie=([0-9a-f]+) pc=([0-9a-f]+)\.\.([0-9a-f]+)\n?(.*)", entry, re.S)
            if table:
                letters[int(table[1], 16)] = re.search(r'Augmentation: +"(\w*)"', table[2])[1]
            elif place:
                cie, start, end = (int(number, 16) for number in place.groups()[:3])
                found[start] = end, letters.get(cie, ""), place[4]
        return found

    def word(self, address, size=4):
        for start, offset, length in self.sections.values():
            if start and start <= address < start + length:
                with open(self.path, "rb") as file:
                    file.seek(offset + address - start)
                    return int.from_bytes(file.read(size), "little")
        raise Bad(f"no section holds {address:x}")

    def descriptors(self):
        if "__rseq_cs" not in self.sections:
            raise Bad(f"{self.path} has no section __rseq_cs")
        start, offset, size = self.sections["__rseq_cs"]
        with open(self.path, "rb") as file:
            file.seek(offset)
            data = bytearray(file.read(size))
        pattern = r"^([0-9a-f]{16})\s+\S+\s+R_\w+_RELATIV\w*\s+([0-9a-f]+)$"
        for match in re.finditer(pattern, self.tool("readelf", "-rW"), re.M):
            at = int(match.group(1), 16) - start
            if 0 <= at < size:
                struct.pack_into("<Q", data, at, int(match.group(2), 16))
        for at in range(0, size, 32):
            version, flags, begin, length, abort = struct.unpack_from("<IIQQQ", data, at)
            if version or flags:
                raise Bad(f"descriptor {start + at:x}: version {version}, flags {flags:x}")
            yield start + at, begin, begin + length, abort


class Sequence:
    def __init__(self, binary, descriptor, begin, end, abort):
        self.binary, self.descriptor = binary, descriptor
        self.begin, self.end, self.abort = begin, end, abort
        self.body = [binary.code[a] for a in binary.order if begin <= a < end]
        if not self.body or self.body[0].address != begin or self.body[-1].next != end:
            self.fail("its bounds do not fall between instructions")
        self.commit = self.body[-1]
        self.slot = self.commit.store()
        self.check_body()
        self.entry = self.check_arming()
        self.check_abort()
        self.kind = self.classify()

    def fail(self, what):
        body = "\n    ".join(map(str, self.body))
        raise Bad(f"sequence {self.begin:x} to {self.end:x}: {what}\n    {body}")

    def check_body(self):
        if not self.slot:
            self.fail("its last instruction stores nothing")
        for instruction in self.body[:-1]:
            store, target = instruction.store(), instruction.target()
            if instruction.calls():
                self.fail(f"a call: {instruction}")
            if store == self.slot:
                self.fail(f"a second store to the slot: {instruction}")
            if store and re.search(r"%[fg]s|\[sp|%rsp|\(%rip\)", store):
                self.fail(f"a store to thread, stack or global: {instruction}")
            if target is not None and self.begin <= target < self.end:
                self.fail(f"a jump inside: {instruction}")
            if not instruction.falls_through():
                self.fail(f"leaves before the commit: {instruction}")
        if sum(i.store() is not None for i in self.body) > 2:
            self.fail("more than two stores")

    def check_arming(self):
        """Label 0: the address of the descriptor goes to rseq_cs, nothing else happens."""
        order = self.binary.order
        first = order.index(self.begin) - ARMING[self.binary.machine]
        arming = [self.binary.code[a] for a in order[first:first + ARMING[self.binary.machine]]]
        if arming[-1].next != self.begin or not arming[-1].store():
            self.fail("the instruction before it arms nothing")
        if self.binary.machine == "x86_64":
            distance = re.match(r"(-?0x[0-9a-f]+)\(%rip\)", arming[0].operands)
            if arming[0].name != "lea" or not distance or \
                    arming[0].next + int(distance.group(1), 16) != self.descriptor:
                self.fail(f"another descriptor is armed: {arming[0]}")
        else:
            loads = [i for i in arming[:-1] if i.name != "nop"]  # of what is near lld makes nop and adr
            names = [i.name for i in loads]
            if names not in (["adrp", "add"], ["adr"]):
                self.fail(f"no descriptor is armed: {arming[0]}; {arming[1]}")
            address = int(loads[0].operands.split(",")[1].split()[0], 16)
            if names[-1] == "add":
                address += int(loads[1].operands.split("#")[1], 16)
            if address != self.descriptor:
                self.fail(f"another descriptor is armed: {arming[0]}; {arming[1]}")
        return arming[0].address

    def check_abort(self):
        signature = self.binary.word(self.abort - 4)
        if signature != SIGNATURE[self.binary.machine]:
            self.fail(f"{signature:x} stands before the abort entry")
        code = self.binary.code.get(self.abort)
        # The bytes before it are data: objdump may have lost the boundary.
        if code is None:
            opcode = self.binary.word(self.abort, 1)
            rest = self.binary.word(self.abort + 1, 4 if opcode == 0xE9 else 1)
            width = 32 if opcode == 0xE9 else 8
            rest -= (rest >> (width - 1)) << width
            target = self.abort + 1 + width // 8 + rest
        else:
            target = code.target()
        if target not in self.binary.code:
            self.fail(f"the abort entry jumps to {target}, where no instruction begins")
        if self.entry <= target < self.end:
            self.fail(f"it is tried again after an abort, at {target:x}")
        self.check_unwinding(target)

    def check_unwinding(self, target):
        """Interrupted there, a thread is in a frame whose caller goes on at the target, with the same stack."""
        # Some walkers look up the byte before, whatever the frame.
        letters, said = next((entry[1:] for start, entry in self.binary.unwound.items()
                              if start < self.abort < entry[0]), ("", ""))
        returns = re.search(r"DW_CFA_val_expression: r(\d+)(?: \(\w+\))? \(DW_OP_breg(\d+) \((\w+)\): 0; "
                            r"DW_OP_const4s: (-?\d+); DW_OP_plus; DW_OP_const4s: (-?\d+); DW_OP_minus\)", said)
        if "S" not in letters or not returns:
            self.fail(f"no unwind table is for the abort entry {self.abort:x}")
        register, ahead = returns[3], int(returns[4]) - int(returns[5])
        if self.binary.machine == "x86_64":
            known = (returns[1], register) == ("16", "rip") and target - ahead == self.abort
        else:  # from the register by which `open` is read: an address in mym_front
            front, size = self.binary.objects.get("mym_front", (0, 0))
            known = returns[1] == "32" and front <= target - ahead < front + size and \
                any(i.name == "ldrb" and f"[{register}, " in i.operands for i in self.body)
        if not known:
            self.fail(f"unwound from its abort entry it returns to {register} + {ahead:x}, not to {target:x}")

    def classify(self):
        if not any(i.name in ("testb", "tbz") for i in self.body[:3]):
            self.fail("whether the cache is open is not asked first")
        compares = [at for at, i in enumerate(self.body)
                    if i.name.startswith("cmp")]
        if len([i for i in self.body if i.store()]) == 2:
            return "push" if len(compares) == 3 else "put"
        if not compares:
            return "pop"
        if len(self.body) - compares[-1] != 3:  # what is committed is read in between
            return "take"
        # compare, jump, commit: of the word with `old`, or of how many it holds with 1
        return "lone" if re.match(r"\$0x1,%|\w+, #0x1$", self.body[compares[-1]].operands) else "swap"


def shortest(binary, function, kind, sequences):
    """Instructions on the shortest way from the entry through a commit to a return."""
    commits = {s.commit.address for s in sequences if s.kind == kind}
    start = (binary.symbols[function], False)
    queue, seen = deque([(start, 1)]), {start}
    while queue:
        (address, committed), count = queue.popleft()
        instruction = binary.code.get(address)
        if instruction is None or instruction.calls():
            continue
        committed = committed or address in commits
        if instruction.name in ("ret", "retq"):
            if committed:
                return count
            continue
        followers = [instruction.next] if instruction.falls_through() else []
        if instruction.target() is not None:
            followers.append(instruction.target())
        for follower in followers:
            state = (follower, committed)
            if state not in seen:
                seen.add(state)
                queue.append((state, count + 1))
    raise Bad(f"no way through {function} commits a {kind} without a call")


def prices(path, pattern):
    found = re.search(pattern, path.read_text())
    if not found:
        raise Bad(f"{path}: no price is written there")
    return [int(price) for price in found.groups()]


def check_prices(binary, sequences, source, with_functions):
    written = prices(source / "cache" / HEADER[binary.machine],
                     r"price: pop (\d+) instructions \(label 0 to 2\), push (\d+), swap (\d+), take (\d+), put (\d+), lone (\d+)")
    for kind, price in zip(KINDS, written):
        lengths = {len(s.body) + ARMING[binary.machine] for s in sequences if s.kind == kind}
        print(f"{kind:6} {sum(s.kind == kind for s in sequences):3} times, "
              f"{'/'.join(map(str, sorted(lengths)))} instructions, written {price}")
        if lengths != {price}:
            raise Bad(f"the price of {kind} is {sorted(lengths)}, the source says {price}")
    if not with_functions:
        return
    written = prices(source / "alloc" / "alloc.h",
                     r"price on x86-64: malloc and operator new (\d+) instructions, free (\d+),\s+\*\s+"
                     r"sized delete (\d+), aligned new (\d+), aligned and sized delete (\d+), malloc's half while\s+\*\s+"
                     r"samples are taken (\d+)")
    for function, price in zip(("malloc", "free", "_ZdlPvm", "_ZnwmSt11align_val_t", "_ZdlPvmSt11align_val_t",
                                "mym_malloc_closed", "_Znwm", "_ZdlPv"), [*written, *written[:2]]):
        kind = "push" if function.startswith(("free", "_Zdl")) else "pop"
        count = shortest(binary, function, kind, sequences)
        print(f"{function:22} hit path {count} instructions, written {price}")
        if count != price:
            raise Bad(f"the price of {function} is {count}, the source says {price}")


def check_vfork(binary):
    """The child of vfork jumps to its caller: on a shadow stack, which it shares, a return is its parent's."""
    if binary.machine != "x86_64" or "vfork" not in binary.symbols:
        return
    code = binary.code
    at = code[binary.symbols["vfork"]]
    while at.name != "syscall":
        at = code[at.next]
    test = code[at.next]
    choice = code[test.next]
    if test.name not in ("test", "testq") or choice.name not in ("je", "jne"):
        raise Bad(f"vfork: whose way is this? {choice}")
    child = code[choice.next if choice.name == "jne" else choice.target()]
    if child.name not in ("jmp", "jmpq") or not child.operands.startswith("*"):
        raise Bad(f"vfork: its child goes on by {child}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("--source", type=Path, help="allocator/src, to compare the prices with")
    parser.add_argument("--functions", action="store_true", help="also price malloc and free")
    parser.add_argument("--prefix", default="", help="of binutils: aarch64-linux-gnu-")
    arguments = parser.parse_args()
    try:
        binary = Binary(arguments.library, arguments.prefix)
        sequences = [Sequence(binary, *descriptor) for descriptor in binary.descriptors()]
        if {s.kind for s in sequences} != set(KINDS):
            raise Bad(f"not all operations were found, only {sorted({s.kind for s in sequences})}")
        print(f"{len(sequences)} sequences on {binary.machine}, each with one commit at its end")
        check_vfork(binary)
        if arguments.source:
            check_prices(binary, sequences, arguments.source, arguments.functions)
    except Bad as bad:
        sys.exit(f"disasm: {bad}")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"disasm: {error}")


if __name__ == "__main__":
    main()
