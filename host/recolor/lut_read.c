/* Tables of colours that others made: .cube as Adobe describes it (and most programs write it), HaldCLUT as a picture.
 *
 * A .cube file is lines: keywords first, then a row of three numbers for each node, red varying fastest. What the
 * description leaves open is taken as widely as programs do: comments and blank lines anywhere, any line ends, a byte
 * order mark, and LUT_nD_INPUT_RANGE for a domain. A file is refused when its rows are not as many as it says, or when it
 * is too short for them to begin with: then nothing is allocated. */
#define _GNU_SOURCE /* strtod_l */
#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/file.h"
#include "core/parse.h"
#include "recolor/lut.h"

enum { LONGEST_LINE = 256, MOST_NODES = 65536, MOST_SIDE = 256, LEAST_ROW = 5, MOST_LEVEL = 16 };

/* Files of 256^3 rows have about half a gigabyte. */
#define MOST_BYTES ((size_t)1 << 30)

typedef struct reader {
    const char *name, *at, *end;
    long long line_number;
    char line[LONGEST_LINE]; /* without blanks at either end; cut off when it is longer */
    bool is_cut;
    locale_t locale;
    mgn_lut lut;
    int64_t rows, read; /* rows: 0 before the first */
} reader;

#define REFUSE(r, format, ...) \
    mgn_fail(MGN_ERR_FORMAT, "%s, line %lld: " format, (r)->name, (r)->line_number, __VA_ARGS__)

/* ---- lines ---- */

static bool next_line(reader *r) {
    if (r->at == r->end) return false;
    size_t length = 0;
    r->is_cut = false;
    r->line_number++;
    for (; r->at < r->end && *r->at != '\n' && *r->at != '\r'; r->at++) {
        if (length == 0 && isspace((unsigned char)*r->at)) continue;
        if (length + 1 < sizeof r->line)
            r->line[length++] = *r->at;
        else
            r->is_cut = true;
    }
    if (r->at < r->end && *r->at++ == '\r' && r->at < r->end && *r->at == '\n') r->at++;
    while (length > 0 && isspace((unsigned char)r->line[length - 1])) length--;
    r->line[length] = 0;
    return true;
}

/* Exactly `count` finite numbers, and nothing else. */
static mgn_status read_numbers(const reader *r, const char *text, int count, double *numbers) {
    const char *at = text;
    bool fine = !r->is_cut && strspn(text, "0123456789+-.eE \t") == strlen(text);
    for (int i = 0; i < count && fine; i++) {
        char *end;
        numbers[i] = strtod_l(at, &end, r->locale);
        fine = end != at && fabs(numbers[i]) <= 1e6;
        at = end;
    }
    if (fine && at[strspn(at, " \t")] == 0) return MGN_OK;
    return REFUSE(r, "%d numbers of at most a million were expected, '%.40s' was found", count, text);
}

/* ---- keywords ---- */

static mgn_status read_size(reader *r, const char *text, int dimensions) {
    int64_t size;
    if (r->lut.size) return REFUSE(r, "a file has one table, and its size was said already: '%.40s'", r->line);
    if (mgn_parse_integer("the size", text, 2, dimensions == 1 ? MOST_NODES : MOST_SIDE, &size) != MGN_OK)
        return REFUSE(r, "%s", mgn_last_error());
    r->lut.dimensions = dimensions;
    r->lut.size = (int)size;
    return MGN_OK;
}

static mgn_status read_range(reader *r, const char *text) {
    double range[2];
    MGN_TRY(read_numbers(r, text, 2, range));
    for (int j = 0; j < 3; j++) {
        r->lut.low[j] = range[0];
        r->lut.high[j] = range[1];
    }
    return MGN_OK;
}

static mgn_status read_keyword(reader *r) {
    const size_t length = strcspn(r->line, " \t");
    const char *rest = r->line + length + strspn(r->line + length, " \t");
    char word[32] = "";
    memcpy(word, r->line, MGN_MIN(length, sizeof word - 1));
    if (strcmp(word, "TITLE") == 0) return MGN_OK;
    if (r->rows) return REFUSE(r, "'%s' stands after the first row of the table", word);
    if (strcmp(word, "LUT_1D_SIZE") == 0) return read_size(r, rest, 1);
    if (strcmp(word, "LUT_3D_SIZE") == 0) return read_size(r, rest, 3);
    if (strcmp(word, "DOMAIN_MIN") == 0) return read_numbers(r, rest, 3, r->lut.low);
    if (strcmp(word, "DOMAIN_MAX") == 0) return read_numbers(r, rest, 3, r->lut.high);
    if (strcmp(word, "LUT_1D_INPUT_RANGE") == 0 || strcmp(word, "LUT_3D_INPUT_RANGE") == 0) return read_range(r, rest);
    return REFUSE(r,
                  "'%s' is not a keyword of .cube files; TITLE, LUT_1D_SIZE, LUT_3D_SIZE, DOMAIN_MIN, DOMAIN_MAX and "
                  "rows of three numbers were expected",
                  word);
}

/* ---- rows ---- */

static mgn_status begin_rows(reader *r) {
    mgn_lut *lut = &r->lut;
    if (lut->size == 0) return REFUSE(r, "'%.40s' stands before LUT_3D_SIZE or LUT_1D_SIZE", r->line);
    for (int j = 0; j < 3; j++)
        if (!(lut->high[j] - lut->low[j] >= 1e-6))
            return REFUSE(r, "the domain before it, from %g to %g, is empty or reversed", lut->low[j], lut->high[j]);
    r->rows = mgn_lut_nodes(lut);
    if ((r->end - r->at) / LEAST_ROW + 2 < r->rows)
        return REFUSE(r, "the file is too short for a table of %d, which has %lld rows", lut->size, (long long)r->rows);
    lut->values = mgn_alloc((size_t)r->rows, 3 * sizeof *lut->values);
    return lut->values ? MGN_OK : MGN_ERR_MEMORY;
}

static mgn_status read_row(reader *r) {
    enum { BETWEEN_QUESTIONS = 1 << 16 };
    double numbers[3];
    if (r->rows == 0) MGN_TRY(begin_rows(r));
    if (r->read == r->rows)
        return REFUSE(r, "the table of %d has %lld rows, and this is one more", r->lut.size, (long long)r->rows);
    MGN_TRY(read_numbers(r, r->line, 3, numbers));
    for (int j = 0; j < 3; j++) r->lut.values[3 * r->read + j] = (float)numbers[j];
    if (++r->read % BETWEEN_QUESTIONS == 0 && mgn_interrupted())
        return mgn_fail(MGN_ERR_INTERRUPTED, "interrupted while %s was read", r->name);
    return MGN_OK;
}

static mgn_status read_all(reader *r) {
    while (next_line(r)) {
        if (r->line[0] == 0 || r->line[0] == '#') continue;
        MGN_TRY(isalpha((unsigned char)r->line[0]) ? read_keyword(r) : read_row(r));
    }
    if (r->lut.size == 0) return mgn_fail(MGN_ERR_FORMAT, "%s: LUT_3D_SIZE or LUT_1D_SIZE was expected", r->name);
    const int64_t rows = mgn_lut_nodes(&r->lut);
    if (r->read == rows) return MGN_OK;
    return mgn_fail(MGN_ERR_FORMAT, "%s: the table of %d has %lld rows, and the file ends after %lld", r->name,
                    r->lut.size, (long long)rows, (long long)r->read);
}

/* ---- files ---- */

static mgn_status keep(const mgn_lut *made, mgn_lut **lut) {
    mgn_lut *kept = mgn_alloc(1, sizeof *kept);
    if (!kept) return MGN_ERR_MEMORY;
    *kept = *made;
    *lut = kept;
    return MGN_OK;
}

mgn_status mgn_cube_parse(const void *bytes, size_t size, const char *name, mgn_lut **lut) {
    static const char mark[] = "\xef\xbb\xbf";
    reader r = {.name = name, .at = bytes, .end = (const char *)bytes + size, .lut = {.high = {1, 1, 1}}};
    if (memchr(bytes, 0, size)) return mgn_fail(MGN_ERR_FORMAT, "%s is not a .cube file: it holds zero bytes", name);
    if (size >= strlen(mark) && memcmp(bytes, mark, strlen(mark)) == 0) r.at += strlen(mark);
    r.locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!r.locale) return mgn_fail(MGN_ERR_MEMORY, "there is no locale to read numbers in");
    mgn_status status = read_all(&r);
    freelocale(r.locale);
    if (status == MGN_OK) status = keep(&r.lut, lut);
    if (status != MGN_OK) mgn_free(r.lut.values);
    return status;
}

/* A square of the cube of a level a side; its colours in order are the table's. */
static mgn_status from_hald(const mgn_image *image, const char *name, mgn_lut **lut) {
    size_t level = 2;
    while (level < MOST_LEVEL && level * level * level < image->width) level++;
    if (image->width != image->height || level * level * level != image->width)
        return mgn_fail(MGN_ERR_FORMAT,
                        "%s is no HaldCLUT: a square whose side is the cube of 2 to %d was expected, %zu x %zu found",
                        name, MOST_LEVEL, image->width, image->height);
    mgn_lut made = {.dimensions = 3, .size = (int)(level * level), .high = {1, 1, 1}};
    made.values = mgn_alloc(image->width * image->height, 3 * sizeof *made.values);
    if (!made.values) return MGN_ERR_MEMORY;
    mgn_image_to_rgb(image, made.values);
    const mgn_status status = keep(&made, lut);
    if (status != MGN_OK) mgn_free(made.values);
    return status;
}

static mgn_status read_hald(const char *path, mgn_lut **lut) {
    mgn_image *image = NULL;
    MGN_TRY(mgn_image_read(path, &image));
    const mgn_status status = from_hald(image, path, lut);
    mgn_image_destroy(image);
    return status;
}

static bool ends_in(const char *path, const char *ending) {
    const char *dot = strrchr(path, '.');
    return dot && strcasecmp(dot, ending) == 0;
}

bool mgn_lut_is_cube(const char *path) { return ends_in(path, ".cube"); }
bool mgn_lut_is_named(const char *path) { return mgn_lut_is_cube(path) || ends_in(path, ".png"); }

mgn_status mgn_lut_read(const char *path, mgn_lut **lut) {
    unsigned char *bytes = NULL;
    size_t size = 0;
    if (!mgn_lut_is_cube(path)) return read_hald(path, lut);
    MGN_TRY(mgn_file_read(path, MOST_BYTES, &bytes, &size));
    const mgn_status status = mgn_cube_parse(bytes, size, path, lut);
    mgn_free(bytes);
    return status;
}

void mgn_lut_destroy(mgn_lut *lut) {
    if (!lut) return;
    mgn_free(lut->values);
    mgn_free(lut);
}
