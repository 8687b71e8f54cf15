"""Where faults can be made in a text of C or OpenCL C, and which: the operators of the mutation test.

A text is cut into units (functions, and macros of several lines). A fault changes one line of a unit by one operator. The
stream of faults visits all units in turn, in an order that the seed decides, so that the first faults are spread over
everything there is.
"""
import collections
import random
import re

COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*', re.DOTALL)
SWAPPED = [
    ('arithmetic', ' + ', ' - '), ('arithmetic', ' - ', ' + '), ('arithmetic', ' * ', ' + '), ('arithmetic', ' / ', ' * '),
    ('arithmetic', ' % ', ' / '), ('arithmetic', ' >> ', ' << '), ('arithmetic', ' << ', ' >> '),
    ('arithmetic', ' & ', ' | '), ('arithmetic', ' | ', ' & '), ('arithmetic', ' ^ ', ' & '),
    ('comparison', ' < ', ' <= '), ('comparison', ' <= ', ' < '), ('comparison', ' > ', ' >= '),
    ('comparison', ' >= ', ' > '), ('comparison', ' == ', ' != '), ('comparison', ' != ', ' == '),
    ('comparison', ' && ', ' || '), ('comparison', ' || ', ' && '),
    ('sum', ' += ', ' = '), ('sum', ' -= ', ' += '), ('sum', ' *= ', ' = '), ('sum', ' |= ', ' = '), ('sum', ' ^= ', ' = '),
    ('extreme', 'fmax(', 'fmin('), ('extreme', 'fmin(', 'fmax('), ('extreme', '= LARGER(', '= min('),
    ('extreme', 'MGN_MAX(', 'MGN_MIN('), ('extreme', 'MGN_MIN(', 'MGN_MAX('),
    ('stride', 'get_global_id(0)', 'get_local_id(0)'), ('stride', 'get_group_id(0)', 'get_local_id(0)'),
    ('stride', 'get_global_size(0)', 'get_local_size(0)'),
]
TERM = r'[\w.]+(?:\([^()]*\)|\[[^\[\]]*\])*'


class Fault(collections.namedtuple('Fault', 'file unit line operator before after lines')):
    """A changed line of `lines`, the text that it stands in (line: from 0)."""

    def whole(self):
        """The text with the fault made."""
        return '\n'.join(self.lines[:self.line] + [self.after] + self.lines[self.line + 1:])

    def context(self):
        """The line with its neighbours, without the fault and with it: found once in the text, mostly."""
        below = '\n' + '\n'.join(self.lines[self.line + 1:self.line + 3])
        above = '\n'.join(self.lines[max(self.line - 2, 0):self.line]) + '\n'
        return above + self.before + below, above + self.after + below

    def occurrence(self):
        """The how manyth of all places in the text that look like the context it is (from 1)."""
        old, at = self.context()[0], max(self.line - 2, 0)
        begin = sum(len(line) + 1 for line in self.lines[:at])
        text = '\n'.join(self.lines)
        return sum(text.startswith(old, i) for i in range(begin + 1))

    def __str__(self):
        return f'{self.file}:{self.line + 1}: {self.before.strip()}  ->  {self.after.strip()}'


def without_comments(text):
    """The text without comments, on the same lines."""
    return COMMENT.sub(lambda match: ' ' + '\n' * match.group().count('\n'), text)


def strings_of(line):
    return [match.span() for match in re.finditer(r'"(?:[^"\\]|\\.)*"', line)]


def changes(line):
    """(operator, changed line) for every fault that the line has a place for."""
    found = []

    def put(operator, begin, end, text):
        found.append((operator, line[:begin] + text + line[end:]))

    for operator, old, new in SWAPPED:
        for match in re.finditer(re.escape(old), line):
            put(operator, match.start(), match.end(), new)
    for match in re.finditer(r'(?<![\w.])(min|max)\(', line):
        put('extreme', match.start(1), match.end(1), 'max' if match.group(1) == 'min' else 'min')
    for match in re.finditer(r'(?<![\w.%])(\d+)(u|ul)?(?![\w.])', line):
        number = int(match.group(1))
        for other in {number + 1, abs(number - 1)}:
            put('constant', match.start(), match.end(), str(other) + (match.group(2) or ''))
    for match in re.finditer(r'(?<![\w.])0x([0-9a-fA-F]+)(u|ul)?(?![\w.])', line):
        put('constant', match.start(), match.end(), hex(int(match.group(1), 16) + 1) + (match.group(2) or ''))
    for match in re.finditer(r'(?<![\w.])(\d+\.\d+(?:e[-+]?\d+)?)(f?)\b', line):
        value = float(match.group(1))
        put('constant', match.start(), match.end(), repr(value * 1.01 if value else 1.0) + match.group(2))
    is_array = re.match(r'\s*(?:const |local |private |static )*\w+ \w+\[[^=(]*\](?: =|;|,)', line)
    for match in [] if is_array else re.finditer(r'\[([^\[\]"]+)\]', line):
        put('index', match.start(1), match.end(1), match.group(1) + ' + 1')
    for match in re.finditer(r' [-+*] ' + TERM + r'(?=[;,)\]\s])', line):
        put('dropped term', match.start(), match.end(), '')
    for match in re.finditer(r'(?<![=!<>])= (?!=)([^;={}]+);', line):
        if match.group(1) != '0' and not re.search(r'[*&]\s*\w+\s*$|restrict', line[:match.start()]):
            put('sign', match.start(1), match.end(1), '-(' + match.group(1) + ')')
    for match in re.finditer(r'return ([^;]+);', line):
        put('sign', match.start(1), match.end(1), '-(' + match.group(1) + ')')
    for match in re.finditer(r'\b(barrier\([^)]*\);|SYNC\b)', line):
        put('barrier', match.start(), match.end(), ';' if match.group(1).startswith('barrier') else '')
    for match in re.finditer(r'(\w*(?:stride|grid|size|place|field|dims)\w*)\.([xyzw])\b', line):
        put('stride', match.start(2), match.end(2), 'yzwx'['xyzw'.index(match.group(2))])
    for match in re.finditer(r'\? (' + TERM + r') : (' + TERM + r')', line):
        put('choice', match.start(1), match.end(2), match.group(2) + ' : ' + match.group(1))
    for match in re.finditer(r'(?<!for )(?<!for)(?<=\W)(' + TERM + r' [-+*|^]?= [^;{}]+|continue|break);', line):
        if not re.match(r'\s*(const|for|R|real|uint|ulong|int)\b', line[:match.start()] + match.group()):
            put('dropped statement', match.start(), match.end(), ';')
    return [(operator, after) for operator, after in found if after != line]


def is_code(line):
    return line.strip() and not re.match(r'\s*(#\s*(if|el|en|un|in|pragma)|#\s*define \w+\s*\S*$|typedef|case )', line)


def is_loop_step(before, after):
    """Whether the fault is in the head of a loop's step or turns a bounded loop into an endless one: found, but slowly."""
    return re.search(r'for \(', before) and before.split(';')[-1] != after.split(';')[-1] and before.count(';') >= 2


def units_of(name, text):
    """[(unit, [line numbers])]: the lines of functions and macros, heads left out."""
    lines = without_comments(text).split('\n')
    units, unit, depth, body = [], None, 0, False
    for at, line in enumerate(lines):
        macro = re.match(r'\s*#\s*define (\w+)', line)
        if macro and not body:
            if line.rstrip().endswith('\\') or '(' in line:
                units.append((macro.group(1), []))
                unit = macro.group(1)
                if re.match(r'\s*#\s*define \w+(\([^)]*\))?\s+[^\\\s]', line):
                    units[-1][1].append(at)
            if line.rstrip().endswith('\\'):
                continue
            unit = None
            continue
        if unit and not body and at and lines[at - 1].rstrip().endswith('\\'):
            units[-1][1].append(at)
            continue
        if line.lstrip().startswith('#'):
            continue
        if not body:
            head = re.match(r'(?!typedef|struct|enum|extern)[A-Za-z].*?\b(\w+)\(', line)
            if head:
                unit = head.group(1)
            depth_line = line.count('{') - line.count('}')
            if '{' in line and unit and not re.search(r'=\s*\{', line):
                if depth_line > 0 or '}' in line:
                    units.append((unit, [at] if '}' in line and depth_line == 0 else []))
                    body, depth = depth_line > 0, depth_line
            elif re.search(r';\s*$', line):
                unit = None
            continue
        depth += line.count('{') - line.count('}')
        units[-1][1].append(at)
        if depth <= 0:
            body, unit = False, None
    return [(unit, numbers) for unit, numbers in units if numbers]


class Source:
    """A text to make faults in. `wanted`: of a line, whether it is of interest."""

    def __init__(self, name, text, wanted=None):
        self.name = name
        self.lines = without_comments(text).split('\n')
        self.units = []
        for unit, numbers in units_of(name, text):
            places = [(at, change) for at in numbers if is_code(self.lines[at]) and (not wanted or wanted(self.lines[at]))
                      for change in [self.changes_by_operator(at)] if change]
            if places:
                self.units.append((unit, places))

    def changes_by_operator(self, at):
        by = collections.defaultdict(list)
        for operator, after in changes(self.lines[at]):
            if not is_loop_step(self.lines[at], after):
                by[operator].append(after)
        return dict(by)

    def draw(self, unit, places, rng):
        operators = sorted({operator for _, change in places for operator in change})
        operator = rng.choice(operators)
        at, change = rng.choice([(at, change) for at, change in places if operator in change])
        return Fault(self.name, unit, at, operator, self.lines[at], rng.choice(change[operator]), self.lines)


def stream(sources, seed):
    """Faults without end, no two alike: rounds over all units of all sources."""
    seen = set()
    for turn in range(50):
        rng = random.Random(f'{seed} {turn}')
        visits = [(source, unit, places) for source in sources for unit, places in source.units]
        rng.shuffle(visits)
        for source, unit, places in visits:
            fault = source.draw(unit, places, rng)
            key = fault.file, fault.line, fault.after
            if key not in seen:
                seen.add(key)
                yield fault
