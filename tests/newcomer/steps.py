"""What is run for each documented command, in the order in which a newcomer would: the command as printed, with its
placeholders filled in; or why it is not run. A form of usage (`[--json]`, `RUN...`) is run as examples of it.
"""

from __future__ import annotations

from dataclasses import dataclass

RUN, MODEL, DATA = "runs/zh-bin2", "models/qwen", "acl6060:data/acl6060"
# What is printed → what is there. Searches are made small: it is the commands that are tried.
FILLED = (
    ("Qwen/Qwen2-Audio-7B-Instruct", MODEL),
    ("/shared/models/Qwen2-Audio-7B-Instruct", MODEL),
    ("Unbabel/wmt22-comet-da", "embedded"),
    ("acl6060:/data/acl6060", DATA),
    ("acl6060:/shared/acl6060", DATA),
    ("acl6060:FOLDER", DATA),
    ("acl6060:DIR", DATA),
    ("--model FOLDER", f"--model {MODEL}"),
    ("--comet CHECKPOINT", "--comet embedded"),
    ("--gpus-per-worker 1", "--gpus-per-worker 0"),
    ("--trials 400", "--trials 4 --segments 24 --levels raw:bf16,grid@1,grid@2 --no-baselines"),
    ("/shared/runs", "shared-runs"),
    ("runs/NAME", RUN),
    ("--resume NAME", "--resume zh-bin2"),
    ("wait auto 4", "wait auto 1"),
)
SMALL = "--trials 4 --segments 12 --levels raw:bf16,grid@1,grid@2 --no-baselines --max-new-tokens 32"


@dataclass(frozen=True)
class Step:
    """`run` in place of what is printed; with `reason`, it is not run. `slow` ones are left out by --quick."""

    printed: str
    run: tuple[str, ...] = ()
    reason: str = ""
    slow: bool = False

    @property
    def commands(self) -> tuple[str, ...]:
        return () if self.reason else self.run or (filled(self.printed),)


def filled(command: str) -> str:
    for placeholder, value in FILLED:
        command = command.replace(placeholder, value)
    return command


def not_run(printed: str, reason: str) -> Step:
    return Step(printed, reason=reason)


STEPS = (
    Step("make search", slow=True),
    # A cluster of one machine, as docs/cluster.md makes one by hand
    Step("ray start --head --port=6379"),
    Step("python -m cluster.wait auto 4"),
    Step(
        "python -m search.run --doctor --model Qwen/Qwen2-Audio-7B-Instruct",
        (f"python -m search.run --doctor --model {MODEL} --comet embedded",),
    ),
    Step("python -m search.run --plan --bin Bin2 --lang en-zh --model FOLDER --data acl6060:FOLDER"),
    Step(
        "python -m search.run --bin Bin2 --lang en-zh --model Qwen/Qwen2-Audio-7B-Instruct --data acl6060:/data/acl6060"
        " --comet Unbabel/wmt22-comet-da --gpus-per-worker 1 --address auto --trials 400 --name zh-bin2"
    ),
    Step(
        "python -m search.run --bin Bin2 --lang en-zh --address auto --runs /shared/runs --name mine"
        " --model /shared/models/Qwen2-Audio-7B-Instruct --data acl6060:/shared/acl6060",
        (
            f"python -m search.run --bin Bin2 --lang en-zh --address auto --runs shared-runs --name mine"
            f" --model {MODEL} --data {DATA} --comet embedded {SMALL}",
        ),
    ),
    Step("ray get-auth-token"),
    Step("ray start --head", reason="the same with a port was run"),
    Step("ray start", reason="the same with --head was run"),
    not_run("ray start --address=HEAD:6379", "needs a second machine; tests/cluster/test_two_nodes.py starts two"),
    Step("ray stop"),
    Step("python -m search.run --resume NAME", ("python -m search.run --resume zh-bin2 --address local --trials 5",)),
    Step("python -m search.run --bin Bin2 --lang en-zh", reason="what make search runs"),
    Step("python -m search.run", reason="named in a sentence, without its arguments"),
    Step(
        "python -m search.run run.toml", (f"cp {RUN}/run.toml run.toml", "python -m search.run run.toml --name again")
    ),
    Step("python -m search.run --help"),
    Step("python -m …", reason="stands for all commands"),
    Step(
        "compression-search run|plan|front|table|…",
        (f"compression-search front {RUN}", f"compression-search table {RUN}", "compression-search run --help"),
    ),
    Step("compression-search completion bash"),
    Step(
        "python -m search.run --bin Bin2 --lang en-zh --model FOLDER --data acl6060:FOLDER --gpus-per-worker 1",
        (
            f"python -m search.run --bin Bin2 --lang en-zh --model {MODEL} --data {DATA} --gpus-per-worker 0"
            f" --comet embedded --name full {SMALL}",
        ),
    ),
    # What comes after a search
    Step(
        "python -m results.front RUN... [--bin Bin2 | --per-bin] [--format text|csv|markdown|latex|json] [--out FILE]",
        (
            f"python -m results.front {RUN}",
            f"python -m results.front {RUN} runs/full --bin Bin2 --format csv",
            f"python -m results.front {RUN} --per-bin --format markdown --out front.md",
            f"python -m results.front {RUN} --format latex",
            f"python -m results.front {RUN} --format json",
        ),
    ),
    Step(
        "python -m results.table RUN [--rows NAME...] [--time] [--format text|markdown|latex|csv|json] [--out FILE]",
        (f"python -m results.table {RUN}", f"python -m results.table {RUN} --format markdown --out table.md"),
    ),
    Step(
        "python -m results.table runs/NAME --time --format latex",
        (f"python -m results.table {RUN} --time --format latex --model {MODEL} --data {DATA}",),
    ),
    Step(
        "python -m results.report RUN [--candidate ID]... [--out FILE]",
        (f"python -m results.report {RUN}", f"python -m results.report {RUN} --candidate c00001 --out report.html"),
    ),
    Step("python -m results.select runs/NAME --bin Bin2"),
    Step(
        "python -m results.select RUN [RULE]... [--bin Bin2] [--json]",
        (f"python -m results.select {RUN} best knee --bin Bin2 --json",),
    ),
    Step(
        "python -m results.export runs/NAME --select best:Bin2 --out my.art --model FOLDER --data acl6060:FOLDER"
        " --comet CHECKPOINT"
    ),
    Step("python -m results.export runs/NAME --select best:Bin2 --out my.art", reason="run with the model it needs"),
    Step("python -m results.export RUN --candidate ID|--select RULE --out ART", reason="run above"),
    Step(
        "python -m results.submit my.art --data acl6060:/data/acl6060 --lang en-zh --team X --bin Bin2 --condition"
        " constrained --type primary"
    ),
    Step(
        "python -m results.submit my.art --data acl6060:FOLDER --lang en-zh --team X --bin Bin2 --condition constrained"
        " --type primary",
        reason="the same as the README's",
    ),
    Step(
        "python -m results.submit ART --data acl6060:DIR --lang en-de --team FBK --bin Bin1 --condition constrained"
        " --type primary",
        reason="the same as the README's, for another language",
    ),
    Step(
        "python -m results.export RUN --select best:Bin2 --out my.art --card",
        (
            f"python -m results.export {RUN} --select best:Bin2 --out card.art --card --model {MODEL} --data {DATA}"
            " --comet embedded",
        ),
    ),
    not_run(
        "python -m results.export RUN --select best:Bin2 --out my.art --push OWNER/NAME [--private]",
        "needs an account; tests/results/shipping/test_hub.py has a stand-in of the hub",
    ),
    Step(
        "python -m results.submit ART --wmt26 --lang cs-de --team NAME --condition constrained [--out DIR]",
        ("python -m results.submit my.art --wmt26 --lang cs-de --team X --condition constrained --out wmt",),
    ),
    Step("bash setup.sh", ("bash wmt/X--my.art/setup.sh",), slow=True),
    Step(
        "bash run.sh --lang-pair ces-deu --batch-size 8 --input input.txt --output output.txt",
        (
            "printf 'One line.\n\nAnother.\n' > input.txt",
            "PYTHON=python bash wmt/X--my.art/run.sh --lang-pair ces-deu --batch-size 8 --input input.txt"
            " --output output.txt",
            "test $(wc -l < output.txt) = 3",
        ),
    ),
    Step(
        "bash run.sh ces-deu 8 < input.txt > output.txt",
        (
            "PYTHON=python bash wmt/X--my.art/run.sh ces-deu 8 < input.txt > streamed.txt",
            "cmp streamed.txt output.txt",
        ),
    ),
    Step(
        "python -m evaluate.lines --model ART --lang-pair ces-deu --input FILE --output FILE",
        ("python -m evaluate.lines --model my.art --lang-pair ces-deu --input input.txt --output lines.txt",),
    ),
    Step("python -m results.compare runs/A runs/B", (f"python -m results.compare {RUN} runs/full",)),
    Step(
        "python -m results.compare RUN_A RUN_B [--candidates ID_A ID_B] [--out compare] [--json]",
        (
            f"python -m results.compare {RUN} runs/full --json",
            f"python -m results.compare {RUN} runs/full --out compare",
        ),
    ),
    Step("python -m results.merge RUN... --out RUN", (f"python -m results.merge {RUN} runs/full --out runs/merged",)),
    Step(
        "optuna-dashboard runs/<name>/study.journal",
        (f"timeout 20 optuna-dashboard {RUN}/study.journal || test $? = 124",),
    ),
    # The libraries' own commands
    Step(
        "python -m compress.pack --model DIR|embedded --policy P.json --out ART",
        (
            "python -m compress.pack --model embedded --level nf4 --out packed.art",
            f"cp $(ls {RUN}/policies/*.json | head -1) P.json",
            f"python -m compress.pack --model {MODEL} --policy P.json --out policy.art",
        ),
    ),
    Step("python -m compress.inspect ART [--json]", ("python -m compress.inspect my.art --json",)),
    Step("python -m compress.verify ART", ("python -m compress.verify my.art",)),
    Step("python -m compress.unpack ART --out DIR", ("python -m compress.unpack my.art --out unpacked",)),
    Step(
        "python -m evaluate.translate --model MODEL --data DATA --lang en-zh -o hyp.txt",
        (
            "python -m evaluate.translate --model my.art --data embedded --lang en-zh --segments 6 -o hyp.txt",
            "python -m evaluate.translate --model embedded --data embedded --lang en-zh --segments 6 -o other.txt",
        ),
    ),
    Step(
        "python -m evaluate.score --hyp hyp.txt --data DATA --lang en-zh [--versus other.txt]",
        ("python -m evaluate.score --hyp hyp.txt --data embedded --lang en-zh --segments 6 --versus other.txt",),
    ),
    # Training
    Step(
        "python -m search.teach --model M --data SPEC --split dev --lang en-zh --condition constrained --out tuned",
        (
            f"python -m search.teach --model {MODEL} --data {DATA} --split dev --lang en-zh --condition constrained"
            " --set epochs=1 --held-out 0.3 --out tuned",
        ),
        slow=True,
    ),
    Step(
        "python -m search.recover runs/NAME --select best:Bin2 --top 4 --methods distill,qlora",
        (
            f"python -m search.recover {RUN} --select best:Bin2 --top 1 --methods cheap --train dev --held-out 0.5"
            f" --set epochs=1 --model {MODEL} --data {DATA} --condition constrained",
        ),
        slow=True,
    ),
    Step(
        "python -m search.recover runs/NAME --candidates c00012,c00031 --methods lora:16:grid@4 --train dev --condition"
        " constrained",
        reason="the same as above with another method",
    ),
    Step(
        "python -m search.published moslem-b --model Qwen/Qwen2-Audio-7B-Instruct --lang en-de"
        " --out systems/moslem-b-de --train acl6060:/data/acl6060 --train-split dev --data acl6060:/data/acl6060"
        " --split eval --condition constrained",
        (
            f"python -m search.published moslem-b --model {MODEL} --lang en-de --out systems/moslem-b-de"
            f" --train {DATA} --train-split dev --data {DATA} --split eval --condition constrained"
            " --comet embedded --set epochs=1 --held-out 0.3 --prune-segments 4",
        ),
        slow=True,
    ),
    # The makers' commands
    Step("make test", slow=True),
    Step("make quick", slow=True),
    Step("make format"),
    Step("make comet-env", slow=True),
    not_run("python -m tests.newcomer", "is what runs these"),
    not_run("make lock", "asks a package index for the hashes of all packages; lint checks the result"),
    not_run("make audit", "asks an advisory service"),
    not_run("python -m embedded.recipe", "under three hours: trains the embedded model anew"),
    Step("python -m tests.fuzz --only artifacts", ("python -m tests.fuzz --only artifacts --rounds 50",)),
    Step("python -m tests.fuzz", ("python -m tests.fuzz --rounds 50",)),
    not_run("python -m benchmarks.device", "eight minutes on a machine with a GPU; tests/benchmarks runs it without"),
    not_run("python -m benchmarks.search", "a benchmark of an hour"),
    not_run("python -m benchmarks.codecs", "a benchmark of an hour"),
    not_run("python -m benchmarks.full_size", "a benchmark of an hour"),
    not_run("python -m benchmarks.soak", "an hour, as root"),
    not_run("python -m benchmarks.text_systems", "a benchmark of half an hour"),
    not_run("python -m benchmarks.recovery", "a benchmark of hours"),
    # Other people's machines
    not_run("ray job submit", "named in a sentence"),
    not_run("ray up cluster/launch/cluster.yaml", "needs machines; tests/cluster/test_launch_files.py reads it"),
    not_run("ray attach cluster.yaml --port-forward 8265", "needs machines"),
    not_run(
        "kubectl apply -f cluster/launch/rayjob.yaml", "needs Kubernetes; tests/cluster/test_launch_files.py reads it"
    ),
    not_run("kubectl port-forward", "needs Kubernetes"),
    not_run(
        "sbatch --nodes=4 --gpus-per-node=8 cluster/launch/slurm.sh --bin Bin2 --lang en-zh --name mine",
        "needs Slurm; tests/cluster/test_launch_files.py runs the script with a stand-in of it",
    ),
    not_run(
        "prometheus --config.file=cluster/prometheus.yml --web.listen-address=127.0.0.1:9090",
        "tests/cluster/test_prometheus.py runs it beside a cluster",
    ),
)
