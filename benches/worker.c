/*
 * The worker of the benchmark: notes when its first instruction ran, then does nothing.
 *
 *     worker STAMPS
 *
 * The note is appended to the file STAMPS in one write, so that all times are taken where they matter and nobody has
 * to watch for them. The layout of a stamp is known to floor.c and stage.rs as well.
 */
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

struct stamp {
	uint64_t ns;   /* CLOCK_MONOTONIC */
	uint32_t pid;
	uint32_t kind; /* 0: a worker's first instruction; 1: the floor program is about to kill one */
};

int main(int argc, char **argv)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (argc < 2)
		return 2;
	struct stamp stamp = { (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec, getpid(), 0 };
	int stamps = open(argv[1], O_WRONLY | O_APPEND | O_CLOEXEC);
	if (stamps < 0 || write(stamps, &stamp, sizeof stamp) != sizeof stamp)
		return 1;
	close(stamps);
	for (;;)
		pause();
}
