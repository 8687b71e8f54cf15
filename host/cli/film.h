/* How other programs apply a table of colours. */
#ifndef MGN_CLI_FILM_H
#define MGN_CLI_FILM_H

#include <mgn/core.h>

/* A command line for a shell that applies the table `lut_path` to a film (.cube, by ffmpeg) or to a picture (HaldCLUT, by
 * ImageMagick); the caller frees it by mgn_free. NULL: no memory. */
char *cli_lut_line(const char *lut_path);

#endif
