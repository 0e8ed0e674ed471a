/*
 * The floor of the benchmark: the least that any manager has to do, and nothing else.
 *
 *     floor fork|vfork keep N WORKER STAMPS          N workers, and a new one for each that dies, until SIGTERM
 *     floor fork|vfork cycle N GAP_MS WORKER STAMPS  N times: rest, kill the one worker, reap it, start another
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

int main(int argc, char **argv)
{
	int cycles = argc > 2 && !strcmp(argv[2], "cycle");
	if (argc != (cycles ? 7 : 6) || (count = atoi(argv[3])) < 1 || count > MOST_WORKERS) {
		fprintf(stderr, "usage: floor fork|vfork keep N WORKER STAMPS\n"
				"       floor fork|vfork cycle N GAP_MS WORKER STAMPS\n");
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
