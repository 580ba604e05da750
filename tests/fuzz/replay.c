/* SPDX-License-Identifier: MIT */
/* replay FOLDER: what fuzzing has found worth keeping, once more, in any build. */
#include <dirent.h>
#include <string.h>

#include "fuzz.h"

enum { SIZE_MAX_KEPT = 1 << 20 };

static void replay(const char *folder, const char *name)
{
    static uint8_t data[SIZE_MAX_KEPT];
    char path[4096];
    FILE *file;
    size_t size;

    FUZZ_CHECK(snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path);
    file = fopen(path, "rb");
    FUZZ_CHECK(file != NULL);
    size = fread(data, 1, sizeof data, file);
    FUZZ_CHECK(feof(file));
    fclose(file);
    fprintf(stderr, "%s\n", name); /* the last one said is the culprit */
    LLVMFuzzerTestOneInput(data, size);
}

int main(int argc, char **argv)
{
    int replayed = 0;
    struct dirent *entry;
    DIR *folder;

    FUZZ_CHECK(argc == 2);
    folder = opendir(argv[1]);
    FUZZ_CHECK(folder != NULL);
    while ((entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.') {
            replay(argv[1], entry->d_name);
            replayed++;
        }
    closedir(folder);
    printf("%d replayed\n", replayed);
    return replayed == 0;
}
