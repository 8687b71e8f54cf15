"""Faults in what the OpenCL driver compiles: texts of cl/, and the kernels that are generated for models.

The driver's stand-in (tests/faulty_cl.h) hands out the sources that a check builds, and builds others in their place. Only
sources in which the fault reaches a kernel that the check runs are replaced: it must change the preprocessed text of a
function that the kernel calls. Everything else comes from a cache of compiled kernels, which the check without a fault has filled; what a fault adds
to it is taken out again. Kernels are compiled without optimisation, which is twice as fast.

A CPU device runs the work-items of a group one after the other, so it gives the right results without a barrier too. What
survives in kernels whose work-items talk to each other is checked once more on Oclgrind, where that is installed: it watches
for data races.
"""
import os
import pathlib
import re
import resource
import shutil
import subprocess
import threading

from faults import Source

# Which checks are made, by the file that the fault is in, the likeliest to find it first.
CHECKS = {
    'cloud.cl': ['softmins', 'gibbs', 'softmin', 'softmins_dense', 'softmin_dense'],
    'conv.cl': ['conv_kernel_gradient', 'conv_transpose', 'conv'],
    'elementwise.cl': ['add', 'select', 'copy', 'broadcast', 'permute'],
    'matmul.cl': ['matmul'],
    'program.cl': ['rows/random', 'rows/indices', 'rows/bytes', 'rows/sums', 'rows/split', 'cmgn/mse', 'rows/shared'],
    'random.cl': ['normal', 'uniform', 'shuffle', 'advance'],
    'reduce.cl': ['sum', 'max'],
    'rows.cl': ['gather_rows', 'scatter_rows'],
    'spd.cl': ['spd_logdet', 'spd_inverse', 'spd_solve'],
    'unorm8.cl': ['from_unorm8', 'to_unorm8'],
    'mgn_bytes.h': ['from_unorm8', 'to_unorm8', 'rows/bytes'],
    'mgn_lanes.h': ['to_unorm8', 'copy', 'select', 'sum', 'max', 'gather_rows', 'spd_solve', 'matmul', 'conv', 'softmins',
                    'gibbs', 'rows/indices'],
    'mgn_math.h': ['tanh', 'log', 'exp', 'log1p', 'logistic', 'softplus', 'logcosh', 'abs', 'sqrt', 'normal', 'softmins'],
    'mgn_random.h': ['uniform', 'normal', 'shuffle', 'rows/random', 'rows/indices'],
    'generated': ['rows/random', 'rows/indices', 'rows/bytes', 'rows/sums', 'rows/shared', 'rows/split', 'rows/epochs',
                  'rows/between', 'wide', 'wide/layers', 'cmgn/nll'],
}
# Files of kernels whose work-items talk to each other, and the checks that do not.
TALK = 'program.cl', 'reduce.cl', 'matmul.cl', 'generated'
SILENT = 'wide', 'wide/layers'
SHAPES = 'cpu', 'gpu'
CPU_SECONDS = 120
# How a check is run: in float alone, in double too, in float on a simulator that finds data races.
MODES = 'single', 'double', 'races'
# Checks that a fault may pass before it counts as a survivor.
MOST_CHECKS = {'single': 6, 'double': 2, 'races': 2}
BRIEF_CHECKS = {'single': 2, 'double': 1, 'races': 1}


def simulator():
    """Oclgrind as a driver, or None."""
    program = shutil.which('oclgrind')
    folders = pathlib.Path(program).resolve().parent.parent.glob('lib*') if program else []
    return next((path for folder in folders for path in sorted(folder.glob('**/oclgrind/liboclgrind-rt-icd.so'))), None)


def reachable(text, kernels):
    """What of a preprocessed source these kernels are made of: {name: text of the function}, and declarations."""
    chunks, depth, begin = [], 0, 0
    for match in re.finditer(r'[{};]', text):
        depth += {'{': 1, '}': -1, ';': 0}[match.group()]
        if depth == 0 and not (match.group() == '}' and re.match(r'\s*(\w+\s*)?;', text[match.end():match.end() + 80])):
            chunks.append(text[begin:match.end()])
            begin = match.end()
    functions, declarations, wanted = {}, [], []
    for chunk in chunks:
        head = re.search(r'(\w+)\s*\(', re.sub(r'__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)', '', chunk.split('{')[0]))
        if not head or chunk.lstrip().startswith('typedef') or '{' not in chunk:
            declarations.append(' '.join(chunk.split()))
            continue
        functions.setdefault(head.group(1), []).append(' '.join(chunk.split()))
        if head.group(1) in kernels and re.search(r'\bkernel\b', chunk.split('{')[0]):
            wanted.append(head.group(1))
    reached = set()
    while wanted:
        name = wanted.pop()
        if name not in reached:
            reached.add(name)
            wanted += [word for text in functions[name] for word in set(re.findall(r'\w+', text)) if word in functions]
    return {name: functions[name] for name in reached}, declarations


class Kernels:
    """The checks without a fault, and their sources."""

    def __init__(self, root, build, work, brief):
        self.root, self.work, self.most_checks = root, work / 'opencl', BRIEF_CHECKS if brief else MOST_CHECKS
        self.cache, icd = work.parent / 'kernels', self.work / 'icd'
        self.cache.mkdir(exist_ok=True)
        icd.mkdir(parents=True)
        # Copies: the build folder may change while faults are judged.
        for path in 'host/cli/mgn', 'tests/libmgn_faulty_cl.so':
            shutil.copy(build / path, self.work)
        self.mgn = self.work / 'mgn'
        (icd / 'faulty.icd').write_text(f'{self.work}/libmgn_faulty_cl.so\n')
        self.environment = dict(os.environ, OCL_ICD_VENDORS=str(icd) + '/', MGN_CACHE='off', POCL_KERNEL_CACHE='1')
        self.bases, self.launched, self.made, self.compiled, self.locks = {}, {}, {}, {}, {}
        self.lock, self.simulator = threading.Lock(), simulator()
        self.last_lines = {[line for line in Source('', (root / 'cl' / name).read_text()).lines if len(line) > 20][-1]
                           for name in ('program.cl', 'mgn_lanes.h')}

    def run(self, op, shape, mode, cache, mgn=None, **more):
        environment = dict(self.environment, MGN_CL_SHAPE=shape, POCL_CACHE_DIR=str(cache), **more)
        if mode != 'races':
            environment['MGN_CL_OPTIONS'] = '-cl-opt-disable'
        if mode != 'double':
            environment['FAULTY_CL_FP64'] = 'off'
        log = pathlib.Path(cache).with_suffix('.races')
        if mode == 'races':
            log.write_text('')
            environment.update(FAULTY_CL_DRIVER=str(self.simulator), OCLGRIND_DATA_RACES='1', OCLGRIND_MAX_ERRORS='5',
                               OCLGRIND_LOG=str(log))

        def limit():
            os.nice(10)
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))

        try:
            done = subprocess.run([mgn or self.mgn, 'check', '--device', 'opencl', '--op', op, '-q'], env=environment,
                                  capture_output=True, text=True, errors='replace', timeout=900, preexec_fn=limit,
                                  start_new_session=True)
        except subprocess.TimeoutExpired:
            return None
        if mode == 'races' and log.stat().st_size > 0:
            done.returncode = done.returncode or 1
        return done

    def base(self, op, shape, mode):
        """[(path, text)] of the sources that a check builds, once it has passed and filled the cache."""
        key = op, shape, mode
        with self.lock:
            own = self.locks.setdefault(key, threading.Lock())
        with own:
            if key not in self.bases:
                folder = self.work / 'sources' / f'{shape}-{mode}' / op.replace('/', '_')
                folder.mkdir(parents=True)
                done = self.run(op, shape, mode, self.cache, FAULTY_CL_DUMP=str(folder))
                if mode == 'races' and (done is None or done.returncode < 0):  # too long for a simulator
                    self.bases[key], self.launched[key] = [], frozenset()
                    return []
                if done is None or done.returncode != 0:
                    said = done and done.stdout + done.stderr
                    raise SystemExit(f'mutants: the check of {op} ({shape}, {mode}) fails without a fault: {said}')
                self.bases[key] = [(path, path.read_text()) for path in sorted(folder.glob('*.cl'))]
                self.launched[key] = frozenset((folder / 'kernels').read_text().split())
            return self.bases[key]

    def preprocessed(self, text, kernels):
        """What these kernels of a source are made of, or None when it cannot be preprocessed."""
        key = hash((text, kernels))
        if key not in self.made:
            done = subprocess.run(['cpp', '-P', '-undef', '-D__OPENCL_VERSION__=120', '-D__OPENCL_C_VERSION__=120'],
                                  input=text, capture_output=True, text=True)
            self.made[key] = reachable(done.stdout, kernels) if done.returncode == 0 else None
        return self.made[key]

    def sources(self, names):
        """What faults are made in."""
        made = [Source(name, (self.root / 'cl' / name).read_text()) for name in names if name in CHECKS and name != 'generated']
        if 'generated' in names:
            made += self.generated()
        return made

    def end_of_head(self, text):
        """How many lines the family's own text has in a generated source; 0: it is none."""
        lines = text.split('\n')
        last = max((i for i, line in enumerate(lines) if line in self.last_lines), default=-1) + 1
        is_generated = re.search(r'void (single|begin|rows\d+|shared\d+|wide|finish)\(', '\n'.join(lines[last:]))
        return last if is_generated else 0

    def generated(self):
        """The kernels made for models, each once: the tail behind the family's own text."""
        made, seen = [], set()
        for op in CHECKS['generated']:
            for shape in SHAPES:
                for path, text in self.base(op, shape, 'single'):
                    head = self.end_of_head(text)
                    if not head or path.name in seen:
                        continue
                    seen.add(path.name)
                    source = Source('generated', '\n'.join(text.split('\n')[head:]))
                    source.op, source.shape, source.path = op, shape, path
                    source.units = [(f'{op} {shape} {unit}', places) for unit, places in source.units]
                    made.append(source)
        return made

    def edited(self, fault, text):
        """The source with the fault, or None where it has no place for it."""
        old, new = fault.context()
        head = ''
        if fault.file == 'generated':  # what stands in several kernels of a source is changed in the right one
            lines = text.split('\n')
            end = self.end_of_head(text)
            head, text = '\n'.join(lines[:end]) + '\n', '\n'.join(lines[end:])
        at, number = -1, fault.occurrence() if fault.file == 'generated' else 1
        while number > 0:
            at, number = text.find(old, at + 1), number - 1
            if at < 0:
                return None
        return None if at < 0 else head + text[:at] + new + text[at + len(old):]

    def replaced(self, fault, op, shape, mode):
        """{path: text with the fault} of the sources that the fault changes."""
        changed = {}
        for path, text in self.base(op, shape, mode):
            edited, kernels = self.edited(fault, text), self.launched[op, shape, mode]
            if edited is not None and self.preprocessed(edited, kernels) != self.preprocessed(text, kernels):
                changed[path] = edited
        return changed

    def code_of(self, text):
        """What the compiler makes of a source; None where there is no compiler to ask."""
        compiler = shutil.which('clang') or shutil.which('clang-14')
        if not compiler:
            return None
        key = hash(text)
        if key not in self.compiled:
            done = subprocess.run([compiler, '-x', 'cl', '-cl-std=CL1.2', '-D__OPENCL_VERSION__=120', '-Xclang', '-finclude-default-header', '-target',
                                   'spir64', '-O2', '-S', '-emit-llvm', '-o', '-', '-w', '-'], input=text,
                                  capture_output=True, text=True)
            self.compiled[key] = done.stdout if done.returncode == 0 else None
        return self.compiled[key]

    def worker(self, number):
        return Worker(self, self.work / f'worker-{number}')


class Worker:
    def __init__(self, kernels, folder):
        self.kernels = kernels
        folder.mkdir(parents=True)
        self.cache, self.edits = folder / 'kernels', folder / 'edits'
        self.cache.mkdir()
        self.edits.mkdir()

    def renew_cache(self):
        """The cache of the checks without a fault, and nothing else."""
        entries = [{path.relative_to(cache) for path in cache.glob('*/*')} for cache in (self.kernels.cache, self.cache)]
        for path in entries[1] - entries[0]:
            shutil.rmtree(self.cache / path, ignore_errors=True)
        for path in entries[0] - entries[1]:
            if (self.kernels.cache / path).is_dir():
                shutil.copytree(self.kernels.cache / path, self.cache / path, copy_function=os.link, dirs_exist_ok=True)

    def check(self, op, shape, edits, mode):
        """'caught', 'broken' or 'passed'."""
        for path in self.edits.iterdir():
            path.unlink()
        for path, text in edits.items():
            (self.edits / path.name).write_text(text)
        done = self.kernels.run(op, shape, mode, self.cache, FAULTY_CL_REPLACE=str(self.edits))
        said = done.stdout + done.stderr if done else ''
        if 'do not build' in said or 'BUILD_PROGRAM_FAILURE' in said:
            return 'broken'
        return 'caught' if not done or done.returncode != 0 else 'passed'

    def judge(self, fault):
        """(verdict, the check that decided): caught, survived, or broken where it does not build or changes nothing."""
        if fault.file == 'generated':
            places = [(source.op, source.shape) for source in self.kernels.sources_of_faults if source.lines is fault.lines]
        else:
            named = [op for op in CHECKS[fault.file] if op in fault.unit or fault.unit in op]
            ops = sorted(named, key=len, reverse=True) + [op for op in CHECKS[fault.file] if op not in named]
            places = [(op, shape) for op in ops for shape in SHAPES]
        self.renew_cache()
        found = []
        for mode in MODES:
            if mode == 'races' and (fault.file not in TALK or not self.kernels.simulator):
                continue
            passed, changed = 0, []
            for op, shape in places:
                if passed == self.kernels.most_checks[mode]:
                    break
                if mode == 'races' and (shape != 'gpu' or op in SILENT):
                    continue
                edits = self.kernels.replaced(fault, op, shape, mode)
                if mode == 'double':
                    edits = {path: text for path, text in edits.items() if '#define MGN_REAL_IS_DOUBLE' in text}
                if not edits:
                    continue
                self.renew_cache()
                verdict = self.check(op, shape, edits, mode)
                if verdict != 'passed':
                    return verdict, name_of(op, shape, mode)
                passed += 1
                changed += edits.items()
            found += changed
            if mode == 'double' and found and self.is_same_code(found):
                return 'equivalent', 'the same code'
            if mode == 'races' and changed and fault.file == 'generated' and fault.operator == 'barrier':
                # all accesses of all launches of this kernel have been seen, and they do not depend on data
                return 'equivalent', 'no data race without it, says Oclgrind'
        return ('survived', '') if found else ('broken', 'no kernel has it')

    def is_same_code(self, changed):
        """Whether the compiler makes the same of the sources with and without the fault."""
        code = self.kernels.code_of
        return all(code(text) is not None and code(path.read_text()) == code(text) for path, text in changed)


def name_of(op, shape, mode):
    return f'{op} {shape}' + {'single': '', 'double': ' double', 'races': ', on Oclgrind'}[mode]
