// The backend of the race: answers `GET /bytes/N` with N bytes over connections that it keeps, as cheaply as one thread
// can, so that what is measured is the proxy. `backend PORT`.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { CONNECTIONS = 65536, MOST_BODY = 1 << 20 };

static struct {
    char head[8192];
    int have;
    size_t sent, size; // of the answer on its way
} connections[CONNECTIONS];

static char answer[MOST_BODY + 256];
static size_t answer_size, answer_body = -1;

static void prepare(size_t body) {
    if (body > MOST_BODY) body = MOST_BODY;
    if (body == answer_body) return;
    int head = sprintf(answer, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n\r\n", body);
    memset(answer + head, 'x', body);
    answer_size = head + body;
    answer_body = body;
}

static void watch(int epoll, int operation, int fd, int events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll, operation, fd, &event);
}

// What is left of the answer; false when the connection is broken.
static int push(int epoll, int fd) {
    while (connections[fd].sent < connections[fd].size) {
        ssize_t n = send(fd, answer + connections[fd].sent, connections[fd].size - connections[fd].sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0) {
            watch(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT);
            return n < 0;
        }
        connections[fd].sent += n;
    }
    if (connections[fd].size > 16384) watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN);
    connections[fd].size = 0;
    return 1;
}

static int pull(int epoll, int fd) {
    char *head = connections[fd].head;
    ssize_t n = recv(fd, head + connections[fd].have, sizeof connections[fd].head - 1 - connections[fd].have, MSG_DONTWAIT);
    if (n <= 0) return 0;
    connections[fd].have += n;
    head[connections[fd].have] = 0;
    if (!strstr(head, "\r\n\r\n")) return 1;
    connections[fd].have = 0;
    size_t body = 0;
    sscanf(head, "GET /bytes/%zu", &body);
    prepare(body);
    connections[fd].size = answer_size;
    connections[fd].sent = 0;
    return push(epoll, fd);
}

int main(int count, char **arguments) {
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(arguments[1]) : 0)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("backend");
        return 1;
    }
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
    for (struct epoll_event events[256];;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int client = accept(listener, 0, 0);
                if (client < 0) continue;
                if (client >= CONNECTIONS) {
                    close(client);
                    continue;
                }
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                memset(&connections[client], 0, sizeof connections[client]);
                watch(epoll, EPOLL_CTL_ADD, client, EPOLLIN);
            } else if (!(events[i].events & EPOLLOUT ? push(epoll, fd) : pull(epoll, fd))) {
                close(fd);
            }
        }
    }
}
