#!/usr/bin/env python3
"""Turns the OpenCL C sources into one C file, so that nothing is read at run time.

usage: embed.py OUTPUT --cc COMPILER... --sources FAMILY.cl...

Each family's text is made self-contained: #include "mgn_*.h" is replaced by the file of that name beside the source,
and <Random123/...> by those of Random123's headers that OpenCL C needs. The other headers that those name are meant
for other compilers and are left out; no preprocessor of OpenCL C ever reaches those lines. Where Random123 lies is
asked of the C compiler, so that its search path counts here as it does for the C sources.
"""
import argparse
import pathlib
import re
import subprocess
import sys

# Random123 includes a features header per compiler; this is the one for OpenCL C, and what philox.h needs besides.
RANDOM123 = {'philox.h', 'array.h', 'features/compilerfeatures.h', 'features/openclfeatures.h', 'features/sse.h'}
COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*', re.DOTALL)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">].*$', re.MULTILINE)


def find_random123(compiler):
    """The folder Random123/ among the compiler's include paths."""
    command = compiler + ['-E', '-M', '-x', 'c', '-include', 'Random123/philox.h', '/dev/null']
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for word in listed.replace('\\\n', ' ').split():
        if word.endswith('Random123/philox.h'):
            return pathlib.Path(word).parent
    sys.exit('embed.py: the compiler does not say where Random123/philox.h is')


def keep_copyright(match):
    """Comments go, for they cost every start of the program; licences stay with the text they belong to."""
    return match.group() if 'Copyright' in match.group() else ' '


def flatten(path, roots):
    """The text of `path` with its includes in place. Headers have guards: one that comes twice does no harm."""
    def replace(match):
        target = match.group(2)
        if target.startswith('Random123/'):
            inner = roots['Random123'] / target.removeprefix('Random123/')
        elif target.startswith('mgn_'):
            inner = roots['cl'] / target
        else:
            inner = path.parent / target
            if roots['Random123'] not in inner.parents:
                return ''
        if roots['Random123'] in inner.parents and \
                inner.relative_to(roots['Random123']).as_posix() not in RANDOM123:
            return ''
        return flatten(inner, roots).rstrip('\n')

    return INCLUDE.sub(replace, COMMENT.sub(keep_copyright, path.read_text()))


def c_bytes(text):
    """The initialiser of a char array: string literals of this length are not portable."""
    data = text.encode() + b'\0'
    rows = (data[i:i + 32] for i in range(0, len(data), 32))
    return ',\n    '.join(','.join(str(byte) for byte in row) for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('output', type=pathlib.Path)
    parser.add_argument('--cc', nargs='+', required=True)
    parser.add_argument('--sources', nargs='+', type=pathlib.Path, required=True)
    options = parser.parse_args()
    roots = {'cl': options.sources[0].parent, 'Random123': find_random123(options.cc)}
    parts = ['/* Made by cl/embed.py: the OpenCL C sources, each with everything it includes. */\n'
             '#include "backend/opencl/opencl.h"\n']
    for source in options.sources:
        text = flatten(source, roots)
        if not text.isascii():
            sys.exit(f'embed.py: {source} has characters that OpenCL C need not accept')
        parts.append(f'static const char text_{source.stem}[] = {{\n    {c_bytes(text)}}};\n')
    rows = '\n'.join(f'    {{"{source.stem}", text_{source.stem}}},' for source in options.sources)
    parts.append(f'const mgn_cl_source mgn_cl_sources[] = {{\n{rows}\n}};\n\n'
                 'const size_t mgn_cl_source_count = MGN_COUNT(mgn_cl_sources);\n')
    options.output.write_text('\n'.join(parts))


if __name__ == '__main__':
    main()
