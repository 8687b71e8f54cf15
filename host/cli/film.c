/* Lines to be pasted into a shell, whatever the table's name looks like: a name passes through the parsers of the shell, of
 * ffmpeg's filter graph and of the filter's options, and each takes some characters for its own.
 *
 * Colours stay RGB of 8 bits a plane between two conversions with full precision, the second of which names its matrix:
 * without a name ffmpeg takes that of standard definition, and greens shift. 4:2:0 at the end is what players show. */
#include "film.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/core.h"

/* Puts a backslash before each of `special`. */
static char *escape(const char *text, const char *special) {
    char *escaped = mgn_alloc(2 * strlen(text) + 1, 1), *at = escaped;
    if (!escaped) return NULL;
    for (; *text; text++) {
        if (strchr(special, *text)) *at++ = '\\';
        *at++ = *text;
    }
    return escaped;
}

/* In single quotes, between which a shell changes nothing; a quote itself is closed, escaped and opened again. */
static char *quote(const char *text) {
    char *quoted = mgn_alloc(4 * strlen(text) + 3, 1), *at = quoted;
    if (!quoted) return NULL;
    *at++ = '\'';
    for (; *text; text++) {
        if (*text == '\'') {
            at = stpcpy(at, "'\\''");
        } else {
            *at++ = *text;
        }
    }
    *at = '\'';
    return quoted;
}

static char *join(const char *before, const char *text, const char *after) {
    const size_t size = strlen(before) + strlen(text) + strlen(after) + 1;
    char *joined = mgn_alloc(size, 1);
    if (joined) snprintf(joined, size, "%s%s%s", before, text, after);
    return joined;
}

/* Replaces *text by what became of it; NULL stays NULL. */
static void become(char **text, char *made) {
    mgn_free(*text);
    *text = made;
}

static char *film_line(char *name) {
    if (name) become(&name, escape(name, "\\':"));    /* the filter's options */
    if (name) become(&name, escape(name, "\\'[],;")); /* the graph of filters */
    if (name)
        become(&name, join("scale=flags=accurate_rnd+full_chroma_int,format=gbrp,lut3d=file=", name,
                           ":interp=tetrahedral,scale=out_color_matrix=bt709:flags=accurate_rnd+full_chroma_int,"
                           "format=yuv420p"));
    if (name) become(&name, quote(name));
    if (name)
        become(&name, join("ffmpeg -i IN.mp4 -vf ", name,
                           " -color_primaries bt709 -color_trc bt709 -colorspace bt709 -c:a copy OUT.mp4"));
    return name;
}

static char *picture_line(char *name) {
    if (name) become(&name, quote(name));
    if (name) become(&name, join("convert IN.jpg ", name, " -hald-clut OUT.jpg"));
    return name;
}

char *cli_lut_line(const char *lut_path) {
    const char *dot = strrchr(lut_path, '.');
    const bool film = dot && strcasecmp(dot, ".cube") == 0;
    /* Neither a leading dash nor a leading space means anything after a slash. */
    char *name = join(strchr("- \t@", *lut_path) ? "./" : "", lut_path, "");
    return film ? film_line(name) : picture_line(name);
}
