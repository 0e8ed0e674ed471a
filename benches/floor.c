/*
 * The floor of the benchmark: the least that any manager has to do, and nothing else.
 *
 *     floor fork|vfork keep N WORKER STAMPS          N workers, and a new one for each that dies, until SIGTERM
 *     floor fork|vfork cycle N GAP_MS WORKER STAMPS  N times: rest, kill the one worker, reap it, start another
 *     floor write MB                                 so much to standard output, then nothing until SIGTERM
 *     floor copy MB FILE                             what such a writer writes, from a pipe to FILE; then the processor
 *                                                    time that took, in microseconds, to standard output
 *
 * fork copies the page tables of a small process and lets parent and child run side by side; vfork copies nothing and
 * waits for each exec. Which of them is faster depends on the number of processors that are idle.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_WORKERS = 1000 };

struct stamp { /* as in worker.c */
	uint64_t ns;
	uint32_t pid;
	uint32_t kind;
};

extern char **environ;
static int use_vfork;
static char **worker; /* its argv */
static pid_t workers[MOST_WORKERS];
static int count;

static void fail(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static pid_t spawn(void)
{
	pid_t pid = use_vfork ? vfork() : fork();
	if (pid < 0)
		fail("cannot fork");
	if (pid == 0) {
		execve(worker[0], worker, environ);
		_exit(127);
	}
	return pid;
}

/* Nothing but calls that are safe in a handler. */
static void end(int signal)
{
	(void)signal;
	for (int i = 0; i < count; i++)
		kill(workers[i], SIGKILL);
	for (int i = 0; i < count; i++)
		waitpid(workers[i], NULL, 0);
	_exit(0);
}

static void keep(void)
{
	for (int i = 0; i < count; i++)
		workers[i] = spawn();
	struct sigaction term = { .sa_handler = end };
	if (sigaction(SIGTERM, &term, NULL) < 0)
		fail("cannot catch SIGTERM");
	for (;;) {
		pid_t pid = waitpid(-1, NULL, 0);
		for (int i = 0; i < count; i++)
			if (workers[i] == pid)
				workers[i] = spawn();
	}
}

static void cycle(long gap_ms)
{
	const char *path = worker[1];
	int stamps = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (stamps < 0)
		fail(path);
	struct timespec gap = { gap_ms / 1000, gap_ms % 1000 * 1000000 };
	pid_t pid = spawn();
	for (int i = 0; i < count; i++) {
		nanosleep(&gap, NULL);
		struct timespec now;
		clock_gettime(CLOCK_MONOTONIC, &now);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		pid = spawn();
		/* Written after the spawn, so as not to be part of what is measured; the pid is the new worker's. */
		struct stamp stamp = { (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec, pid, 1 };
		if (write(stamps, &stamp, sizeof stamp) != sizeof stamp)
			fail(path);
	}
	nanosleep(&gap, NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Lines, in pieces as large as a pipe holds. */
static void write_much(long megabytes)
{
	static char piece[64 * 1024];
	memset(piece, 'x', sizeof piece);
	for (size_t end = 127; end < sizeof piece; end += 128)
		piece[end] = '\n';
	for (long left = megabytes * 16; left > 0; left--)
		for (size_t done = 0; done < sizeof piece;) {
			ssize_t written = write(1, piece + done, sizeof piece - done);
			if (written < 0)
				fail("write");
			done += written;
		}
	for (;;)
		pause();
}

static void copy(long megabytes, const char *path)
{
	static char piece[128 * 1024];
	int ends[2];
	int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (file < 0)
		fail(path);
	if (pipe2(ends, O_CLOEXEC) < 0)
		fail("pipe2");
	pid_t writer = fork();
	if (writer < 0)
		fail("fork");
	if (writer == 0) {
		dup2(ends[1], 1);
		write_much(megabytes);
	}
	for (long left = megabytes << 20; left > 0;) {
		ssize_t count = read(ends[0], piece, sizeof piece);
		if (count <= 0 || write(file, piece, count) != count)
			fail("copy");
		left -= count;
	}
	kill(writer, SIGTERM);
	struct rusage used;
	getrusage(RUSAGE_SELF, &used);
	printf("%ld\n", (long)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + used.ru_utime.tv_usec +
			       used.ru_stime.tv_usec);
	waitpid(writer, NULL, 0);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "write"))
		write_much(atol(argv[2]));
	if (argc == 4 && !strcmp(argv[1], "copy")) {
		copy(atol(argv[2]), argv[3]);
		return 0;
	}
	int cycles = argc > 2 && !strcmp(argv[2], "cycle");
	if (argc != (cycles ? 7 : 6) || (count = atoi(argv[3])) < 1 || count > MOST_WORKERS) {
		fprintf(stderr, "usage: floor fork|vfork keep N WORKER STAMPS\n"
				"       floor fork|vfork cycle N GAP_MS WORKER STAMPS\n"
				"       floor write MB\n"
				"       floor copy MB FILE\n");
		return 2;
	}
	use_vfork = !strcmp(argv[1], "vfork");
	worker = argv + (cycles ? 5 : 4);
	if (cycles)
		cycle(atol(argv[4]));
	else
		keep();
	return 0;
}
