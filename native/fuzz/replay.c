/* Runs a fuzz target on files, each in memory of its exact size, where the sanitizers see every step beyond it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat status;
	if (file == NULL || fstat(fileno(file), &status) < 0) {
		perror(path);
		exit(1);
	}
	size_t length = (size_t)status.st_size;
	uint8_t *bytes = malloc(length > 0 ? length : 1);
	if (bytes == NULL || fread(bytes, 1, length, file) != length) {
		perror(path);
		exit(1);
	}
	fclose(file);
	LLVMFuzzerTestOneInput(bytes, length);
	free(bytes);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	printf("%s: %d inputs, ok\n", argv[0], argc - 1);
	return argc > 1 ? 0 : 1;
}
