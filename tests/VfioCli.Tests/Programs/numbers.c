/*
 * Every way in which a descriptor's number begins and ends to lead to a file. Prints a line for each step: what an ioctl on the number answers then.
 *   numbers FILE REQUEST     REQUEST is an ioctl that FILE takes, with a struct whose first field is its size (12)
 * The same lines are expected of any file: they are rules of descriptors, not of the file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long request;

static void say(const char *step, int number)
{
    uint32_t argument[16] = { 12 };
    printf("%s: %s\n", step, ioctl(number, request, argument) < 0 ? strerrorname_np(errno) : "ok");
    fflush(stdout);
}

static int close_it(void *number)
{
    return close(*(int *)number);
}

static void *close_in_thread(void *number)
{
    close_it(number);
    return NULL;
}

int main(int argc, char **argv)
{
    static char stack[64 * 1024];
    char text[16];
    pthread_t thread;

    request = strtoul(argv[2], NULL, 0);
    if (argc > 3) {
        say("after exec, the number", atoi(argv[3]));
        say("after exec, the low number", 50);
        return 0;
    }

    int first = open(argv[1], O_RDWR | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    say("opened", first);
    int second = dup(first);
    close(first);
    say("closed, a duplicate is open", first);
    say("the duplicate", second);

    int third = open(argv[1], O_RDWR | O_CLOEXEC);
    dup2(null, third);
    say("dup2 of another file onto it", third);
    dup3(second, third, O_CLOEXEC);
    say("dup3 of the file onto it", third);
    dup2(third, 50);
    say("a low number", 50);
    syscall(SYS_close_range, third, third, 0);
    say("close_range, the low number is open", third);

    int fourth = fcntl(50, F_DUPFD_CLOEXEC, 60);
    say("F_DUPFD", fourth);
    pthread_create(&thread, NULL, close_in_thread, &fourth);
    pthread_join(thread, NULL);
    say("closed by a thread", fourth);

    int fifth = open(argv[1], O_RDWR | O_CLOEXEC), kept = dup(fifth);
    if (fork() == 0) {
        say("in a child", fifth);
        close(fifth);
        say("closed in the child", fifth);
        exit(0);
    }
    wait(NULL);
    say("closed in a child that has its own table", fifth);
    clone(close_it, stack + sizeof(stack), CLONE_FILES | CLONE_VM | SIGCHLD, &fifth);
    wait(NULL);
    say("closed in a child that shares the table", fifth);
    say("its duplicate", kept);

    int holder = fork();
    if (holder == 0) {
        pause();
        exit(0);
    }
    if (fork() == 0) {
        snprintf(text, sizeof(text), "%d", kept);
        execl(argv[0], argv[0], argv[1], argv[2], text, NULL);
    }
    wait(NULL);
    int sixth = open(argv[1], O_RDWR | O_CLOEXEC);
    if (fork() == 0) { /* keeps the file open while this process becomes another program */
        sleep(2);
        exit(0);
    }
    kill(holder, SIGKILL);
    snprintf(text, sizeof(text), "%d", sixth);
    execl(argv[0], argv[0], argv[1], argv[2], text, NULL);
    return 1;
}
