import sys

import pytest

from cliffvid.cli import app as cli


@pytest.fixture
def cliffvid(toys, tmp_path, monkeypatch, capfd):
    """Run the command in an empty folder; answers (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*args, toy_models=True):
        models = ["--models", toys, "--detector", "toy-detector", "--regressor", "toy-regressor"] if toy_models else []
        monkeypatch.setattr(sys, "argv", ["cliffvid", *map(str, args), *map(str, models)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return end.value.code, out, err

    return run
