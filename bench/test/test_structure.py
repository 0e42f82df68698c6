"""The suite's modules: none needs, by any way round, one that needs it."""
import ast
import pathlib
import unittest

SUITE = pathlib.Path(__file__).resolve().parent.parent / "suite"


def imports(path):
    """Modules of the suite that a file imports anywhere, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {name.name for name in node.names}
    return {name for name in found if (SUITE / f"{name}.py").exists()}


class Structure(unittest.TestCase):
    def test_no_circle(self):
        needs = {path.stem: imports(path) for path in SUITE.glob("*.py")}
        self.assertGreater(sum(map(len, needs.values())), 30)
        while needs:
            free = [name for name, others in needs.items() if not others & needs.keys()]
            self.assertTrue(free, f"each of these needs another of them: {needs}")
            for name in free:
                del needs[name]

    def test_sizes(self):
        """A module is read in a sitting, a function on a screen."""
        for path in SUITE.glob("*.py"):
            text = path.read_text(encoding="utf-8")
            self.assertLessEqual(text.count("\n"), 500, path.name)
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    self.assertLessEqual(node.end_lineno - node.lineno + 1, 50, f"{path.name}: {node.name}")

    def test_options_need_no_package(self):
        """What answers --help and a mistyped option imports the standard library alone."""
        todo, seen = ["cli", "forms"], set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            tree = ast.parse((SUITE / f"{name}.py").read_text(encoding="utf-8"))
            for node in tree.body:  # at the top only
                if isinstance(node, ast.Import):
                    self.assertFalse({n.name.split(".")[0] for n in node.names} &
                                     {"numpy", "scipy", "matplotlib", "jinja2"}, name)
                if isinstance(node, ast.ImportFrom) and node.level == 1:
                    todo += [n.name for n in node.names if (SUITE / f"{n.name}.py").exists()] \
                        if not node.module else [node.module]


if __name__ == "__main__":
    unittest.main()
