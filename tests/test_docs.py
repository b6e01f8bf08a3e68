"""What the documentation says is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from supersam.cli.main import app
from supersam.space import BLOCK_TYPES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_ci_runs_the_readmes_own_test_command():
    block = re.search(r"<!-- command: test -->\n```bash\n(.*?)\n```\n<!-- end -->", README, re.DOTALL)

    assert block is not None
    assert "pytest" in block[1]
    assert "<!-- command: test -->" in (ROOT / ".ci" / "run").read_text()


def test_every_command_is_in_the_readme():
    names = [command.callback.__name__ for command in app.registered_commands]

    names += [group.name for group in app.registered_groups]
    assert len(names) == 13
    assert all(f"`supersam {name}" in README for name in names)


def test_every_exit_code_of_an_error_is_in_the_readme():
    from supersam import errors

    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert all(re.search(rf"\b{code} [a-z]", README) for code in codes)


@pytest.mark.parametrize("block", BLOCK_TYPES.values(), ids=lambda block: block.name)
def test_every_block_type_is_registered_and_cites_its_paper(block):
    from supersam.blocks import BLOCKS

    assert block.name in BLOCKS
    assert block.paper.startswith("https://arxiv.org/abs/")


@pytest.mark.parametrize("path", [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md"], ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(path):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_decision_is_listed():
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text()
    assert all(page.name in listed for page in (ROOT / "docs" / "decisions").glob("0*.md"))


def test_the_module_runs_as_the_command_does():
    done = subprocess.run([sys.executable, "-m", "supersam", "--help"], capture_output=True, text=True, check=True)
    assert "search" in done.stdout


def test_no_path_of_a_machine_and_no_address_of_a_registry_is_in_the_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    texts = [ROOT / name for name in listed.stdout.split() if not name.endswith((".safetensors", ".png"))]
    pattern = re.compile(r"(index-ur[l]|extra-inde[x]|find-link[s]|/[w]ork/|/[r]oot/|pypi[.]org|/[h]ome/[a-z])")
    found = [path for path in texts if path.is_file() and path != Path(__file__) and pattern.search(path.read_text())]
    assert not found
