"""Packages of another release or architecture, by an apt of its own: the host's is not changed."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Missing(Exception):
    """Cannot run here."""


class Broken(Exception):
    """Should have worked here."""


def call(command, **options):
    """Run it quietly; what it said only when it fails."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise Broken(f"{command[0]}: status {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def debian_archive():
    """Where this host's own apt has Debian from."""
    shown = call(["apt-get", "indextargets", "--format",
                  "$(CREATED_BY) $(REPO_URI) $(COMPONENT) $(CODENAME)"])
    for line in shown.splitlines():
        kind, address, component, suite = line.split(" ", 3)
        if kind == "Packages" and component == "main" and "-" not in suite \
                and address.rstrip("/").endswith("/debian"):
            return address
    raise Missing("this host's apt has no Debian archive among its sources")


class Packages:
    def __init__(self, suite, architecture, folder):
        self.suite, self.architecture, self.folder = suite, architecture, folder
        self.ready = False

    def _apt(self, tool, *words, **options):
        settings = self.folder / "apt.conf"
        return call([tool, *words], env={**os.environ, "APT_CONFIG": str(settings)}, **options)

    def _prepare(self):
        if not (shutil.which("apt-get") and os.path.exists(KEYS)):
            raise Missing("needs Debian's apt and its archive keys to fetch a kernel")
        for name in ("lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        (self.folder / "sources.list").write_text(
            f"deb [arch={self.architecture} signed-by={KEYS}] {debian_archive()} {self.suite} main\n")
        (self.folder / "apt.conf").write_text(f"""
            Dir::State "{self.folder}"; Dir::State::status "{self.folder}/status";
            Dir::Cache "{self.folder}/cache"; Dir::Etc::sourceparts "-";
            Dir::Etc::sourcelist "{self.folder}/sources.list";
            APT::Architecture "{self.architecture}"; APT::Architectures {{ "{self.architecture}"; }};
            APT::Sandbox::User ""; Acquire::Languages "none";
            """)
        try:
            self._apt("apt-get", "update", "-qq", "--error-on=any")
        except Broken as broken:
            raise Missing(f"Debian's archive cannot be read: {broken}") from broken
        self.ready = True

    def with_kernel(self, package):
        """The package itself, or what it depends on, step by step, for the kernel."""
        if not self.ready:
            self._prepare()
        while True:
            shown = self._apt("apt-cache", "show", "--no-all-versions", package)
            found = re.search(r"^Depends:.*?(linux-(image|binary)-[^ ,]+)", shown, re.M)
            if not found:
                return package
            package = found.group(1)

    def known(self, names):
        return re.findall(r"^(\S+) - ", self._apt("apt-cache", "search", "--names-only", names), re.M)

    def fetch(self, package, member, target):
        """One file of the package, found by its name's pattern, becomes target."""
        if not self.ready:
            self._prepare()
        with tempfile.TemporaryDirectory(dir=self.folder) as work:
            self._apt("apt-get", "download", "-qq", package, cwd=work)
            deb, = pathlib.Path(work).glob("*.deb")
            call(["dpkg-deb", "-x", deb, work])
            found = next(pathlib.Path(work).glob(member), None)
            if not found:
                raise Broken(f"the package {package} has no {member}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(found, target)
