"""Faults in C sources that are compiled into the library: the cpu backend, the op table, and the writers of OpenCL kernels.

The object files that a fault changes are compiled once more (kernels once: for the least instruction set whose text the fault
changes, in double only what float does not have; without optimisation, which is faster) and linked in front of the library, in
private copies of the programs that judge.
"""
import json
import os
import pathlib
import re
import resource
import shlex
import subprocess

from faults import Source
from kernels import SHAPES, name_of

BACKEND = 'host/backend/'
CPU = {
    'cpu/kernel_cloud.h': ['softmin', 'gibbs', 'softmin_dense'],
    'cpu/kernel_conv.h': ['conv', 'conv_transpose', 'conv_kernel_gradient'],
    'cpu/kernel_elementwise.h': ['add', 'tanh', 'select', 'concat', 'sub', 'permute'],
    'cpu/kernel_matmul.h': ['matmul'],
    'cpu/kernel_panels.h': ['products', 'matmul'],
    'cpu/kernel_program.h': ['rows/random', 'rows/indices', 'rows/bytes', 'rows/sums', 'rows/split', 'rows/epochs',
                             'rows/shared', 'rows/between', 'cmgn/nll'],
    'cpu/kernel_reduce.h': ['sum', 'max'],
    'cpu/kernel_rows.h': ['gather_rows', 'scatter_rows', 'uniform', 'normal', 'shuffle', 'advance', 'to_unorm8'],
    'cpu/kernel_softmins.h': ['softmins', 'softmins_dense'],
    'cpu/kernel_spd.h': ['spd_solve', 'spd_inverse', 'spd_logdet'],
    'cpu/kernel_wide.h': ['wide', 'wide/layers', 'wide/vectors', 'wide/column'],
    'cpu/panels.c': ['products', 'matmul'],
    'cpu/prepare.c': ['add', 'matmul', 'sum', 'conv', 'softmins', 'gather_rows', 'spd_solve'],
    'cpu/rows.c': ['rows/split', 'rows/indices', 'rows/sums', 'rows/epochs', 'cmgn/nll'],
    'cpu/program.c': ['products', 'add'],
    'cpu/wide.c': ['wide', 'wide/layers', 'wide/vectors', 'wide/column'],
}
WRITERS = {
    'opencl/row_print.c': ['rows/split', 'rows/shared', 'rows/indices', 'rows/random', 'rows/between'],
    'opencl/row_rows.c': ['rows/sums', 'rows/indices', 'rows/bytes', 'rows/random', 'rows/split', 'rows/epochs',
                          'cmgn/nll'],
    'opencl/row_shared.c': ['rows/shared', 'rows/sums', 'rows/split', 'rows/indices', 'cmgn/nll'],
    'opencl/wide.c': ['wide', 'wide/layers', 'wide/vectors', 'wide/column'],
    'opencl/wide_loops.c': ['wide/layers', 'wide', 'wide/vectors', 'wide/column'],
    'opencl/wide_print.c': ['wide', 'wide/layers', 'wide/vectors', 'wide/column'],
}
TABLE = 'graph/ops.def'
NAMES = [*CPU, *WRITERS, TABLE]
# What the compiler is told to make of a file: the preprocessed text without line numbers, or an object.
FLAGS = {'.i': ['-E', '-P'], '.o': ['-c']}
# Compiled with kernels.c, once for each real type.
OF_KERNELS = re.compile(r'cpu/kernel_.*\.h$')
# Instruction sets that kernels are compiled for, and what /proc/cpuinfo calls them.
ISAS = {'baseline': set(), 'avx2': {'avx2', 'fma'}, 'avx512': {'avx512f', 'avx512dq', 'avx512bw', 'avx512vl'}}
CPU_SECONDS = 120


def is_written(line):
    """Whether a line of a writer of row programs holds text of kernels."""
    return '"' in line


def decides(line):
    """Whether a line of what makes wide programs is more than care for memory, errors and speed."""
    return computes(line) and not re.search(r'weight|unrolls|MOST_|LEAST_|LONG_CHAIN|failed|silent', line)


def computes(line):
    """Whether a line is more than care for memory and errors, which other tests see to."""
    return not re.search(r'MGN_ERR|mgn_fail|alloc|mgn_free|INT_MAX|return (?:status|MGN_OK);', line)


def variant_of(command):
    """(instruction set, whether in double) of a command that compiles kernels."""
    output = command['output']
    isa = next(isa for isa in reversed(ISAS) if '_' + isa + '.' in output or isa == 'baseline')
    return list(ISAS).index(isa), '_f64_' in output


def isas_of_machine():
    """How many of ISAS this machine has."""
    try:
        flags = set(re.search(r'^flags\s*:(.*)$', pathlib.Path('/proc/cpuinfo').read_text(), re.MULTILINE).group(1).split())
    except (OSError, AttributeError):
        return 1
    return next((at for at, needed in enumerate(ISAS.values()) if not needed <= flags), len(ISAS))


def path_of(name):
    return ('host/' if name == TABLE else BACKEND) + name


def table_source(root):
    """The rows of elementwise ops: their expressions and derivatives, a unit each."""
    source = Source(TABLE, (root / path_of(TABLE)).read_text())
    source.units = []
    for at, line in enumerate(source.lines):
        row = re.match(r'MGN_(?:UNARY|BINARY|TERNARY)\((\w+), (?!expression)', line)
        if not row:
            continue
        end = re.search(r', \d+, [-\d.]+, [-\d.]+, [-\d.]+\)$', line)
        changed = {}
        for operator, after in [*source.changes_by_operator(at).items()]:
            kept = [text for text in after if text.startswith(row.group()) and text.endswith(line[end.start():])]
            if kept:
                changed[operator] = kept
        for old, new in (('mgn_sub(', 'mgn_add('), ('mgn_neg(', 'mgn_square('), ('ONE', 'ZERO'), ('mgn_div(', 'mgn_mul('),
                         ('mgn_mul(', 'mgn_add('), ('mgn_greater(a, b)', 'mgn_greater(b, a)'), (', a)', ', b)'),
                         ('mgn_shift(a, 1)', 'a'), ('out', 'a'), ('mgn_tanh', 'mgn_logistic'), ('m_', 'm_abs(a) + m_')):
            for match in re.finditer(re.escape(old), line[row.end():end.start()]):
                begin = row.end() + match.start()
                changed.setdefault('rule', []).append(line[:begin] + new + line[begin + len(old):])
        if changed:
            source.units.append((row.group(1), [(at, changed)]))
    return source


class Host:
    def __init__(self, root, build, work, kernels, brief):
        self.root, self.build, self.work, self.kernels, self.brief = root, build, work / 'host', kernels, brief
        commands = json.loads((build / 'compile_commands.json').read_text())
        self.commands = {}
        for command in commands:
            path = pathlib.Path(command['directory'], command['file']).resolve()
            if root.resolve() in path.parents:
                self.commands.setdefault(path.relative_to(root.resolve()).as_posix(), []).append(command)
        kernels_c = BACKEND + 'cpu/kernels.c'
        self.commands[kernels_c] = sorted((command for command in self.commands[kernels_c]
                                           if variant_of(command)[0] < isas_of_machine()), key=variant_of)

    def sources(self, names):
        made = []
        for name in names:
            if name == TABLE:
                made.append(table_source(self.root))
            elif name in NAMES:
                wanted = decides if 'opencl/wide' in name else is_written if name in WRITERS else computes
                made.append(Source(name, (self.root / path_of(name)).read_text(), wanted))
        return made

    def worker(self, number):
        return Worker(self, self.work / f'worker-{number}')

    def compiled_with(self, name):
        """The C files that a fault in this one changes."""
        if OF_KERNELS.search(name):
            return [BACKEND + 'cpu/kernels.c']
        if name == TABLE:
            return [BACKEND + 'cpu/kernels.c', 'host/graph/elementwise.c', 'host/graph/ops.c']
        return [path_of(name)]


class Worker:
    def __init__(self, host, folder):
        self.host, self.folder = host, folder
        (folder / 'host').mkdir(parents=True)
        self.kernels = host.kernels.worker(f'host-{folder.name}')
        self.plain, self.isa, self.judged = {}, 'baseline', []

    def compiled(self, command, optimised, file, target, *more):
        """Whether a file compiles as the build does it, here or where the fault lies over the sources (`more`)."""
        words = [word for word in shlex.split(command['command']) if word not in ('ccache', '-O3', '-O2')]
        words = words[:words.index('-o')]
        for flag in '-MD', '-MQ', '-MF':
            if flag in words:
                at = words.index(flag)
                del words[at:at + (1 if flag == '-MD' else 2)]
        level = ['-O1'] if optimised else ['-O0', '-U_FORTIFY_SOURCE']
        done = subprocess.run([words[0], *more, *words[1:], *level, '-w', '-o', str(target), *FLAGS[target.suffix], str(file)],
                              cwd=command['directory'], capture_output=True)
        return done.returncode == 0

    def differs(self, command, optimised, source, over):
        """Whether the compiler sees a difference; None where it does not compile."""
        plain, faulty = self.host.root / source, self.folder / source
        after = self.folder / ('after.o' if optimised else 'after.i')
        key = command['output'], optimised
        if key not in self.plain:
            before = after.with_stem('before')
            self.plain[key] = before.read_bytes() if self.compiled(command, optimised, plain, before) else None
        if not self.compiled(command, optimised, faulty if faulty.exists() else plain, after, over):
            return None
        return after.read_bytes() != self.plain[key]

    def objects(self, fault):
        """The objects with the fault; None where they do not compile, [] where they are the same."""
        made, over = [], '-I' + str(self.folder / 'host')
        self.isa, self.judged = 'baseline', []
        for source in self.host.compiled_with(fault.file):
            for command in self.host.commands[source]:
                differs = self.differs(command, False, source, over)
                if differs is None:
                    return None
                if not differs:
                    continue
                faulty, target = self.folder / source, self.folder / f'{len(made)}.o'
                if not self.compiled(command, False, faulty if faulty.exists() else self.host.root / source, target, over):
                    return None
                made.append(target)
                self.judged.append((command, source))
                if source.endswith('cpu/kernels.c'):
                    self.isa = list(ISAS)[variant_of(command)[0]]
                    break
        return made

    def is_same_code(self):
        """Whether the compiler makes the same code of what was judged."""
        over = '-I' + str(self.folder / 'host')
        return all(self.differs(command, True, source, over) is False for command, source in self.judged)

    def link(self, program, objects):
        """A private copy of a program with these objects in front of the library's."""
        lines = subprocess.run(['ninja', '-t', 'commands', program], cwd=self.host.build, capture_output=True, text=True)
        words = shlex.split(lines.stdout.strip().split('\n')[-1])
        target = self.folder / pathlib.Path(program).name
        words[words.index('-o') + 1] = str(target)
        at = next(i for i, word in enumerate(words) if word.endswith('.a'))
        subprocess.run(words[:at] + [str(path) for path in objects] + words[at:], cwd=self.host.build, check=True,
                       capture_output=True)
        return target

    def run(self, command, **more):
        def limit():
            os.nice(10)
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))

        environment = dict(os.environ, MGN_ISA=self.isa, CK_FORK='no', **more)
        environment['XDG_CACHE_HOME'] = str(self.folder / 'cache')
        try:
            return subprocess.run([str(word) for word in command], env=environment, cwd=self.folder, capture_output=True,
                                  timeout=900, preexec_fn=limit, start_new_session=True).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def judge(self, fault):
        target = self.folder / path_of(fault.file)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(fault.whole())
        try:
            objects = self.objects(fault)
            if not objects:
                return 'broken', 'the same text' if objects == [] else 'does not compile'
            mgn = self.link('host/cli/mgn', objects)
            verdict = self.judge_writer(fault, mgn) if fault.file in WRITERS else self.judge_program(fault, mgn, objects)
            if verdict[0] == 'survived' and self.is_same_code():
                return 'equivalent', 'the same code'
            return verdict
        except subprocess.CalledProcessError:
            return 'broken', 'does not link'
        finally:
            target.unlink()

    def judge_program(self, fault, mgn, objects):
        checks = [fault.unit] if fault.file == TABLE else CPU[fault.file]
        for op in checks:
            if not self.run([mgn, 'check', '-d', 'cpu', '-q', '--op', op]):
                return 'caught', op
        if self.host.brief:
            return 'survived', ''
        if not self.run([mgn, 'check', '-d', 'cpu', '-q']):
            return 'caught', 'all checks'
        for test in ['cpu', 'graph'] + (['wide'] if 'wide' in fault.file else []):
            if not self.run([self.link('tests/test_' + test, objects)], MGN_BINARY=mgn):
                return 'caught', 'test ' + test
        return 'survived', ''

    def judge_writer(self, fault, mgn):
        kernels = self.host.kernels
        self.kernels.renew_cache()
        talks = 'row_' in fault.file and kernels.simulator and not self.host.brief
        for mode in ['single', 'races'] if talks else ['single']:
            for op in WRITERS[fault.file]:
                for shape in ['gpu'] if mode == 'races' else SHAPES:
                    if not kernels.base(op, shape, mode):
                        continue
                    self.kernels.renew_cache()
                    done = kernels.run(op, shape, mode, self.kernels.cache, mgn=mgn)
                    if not done or done.returncode != 0:
                        return 'caught', name_of(op, shape, mode)
        return 'survived', ''
