package node

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	logsPort = 10250
	// kept is how many lines of a pod are remembered.
	kept = 20000
)

// output remembers what a process wrote, by line and time.
type output struct {
	mutex sync.Mutex
	lines []line
	rest  []byte // of a line that has not ended
}

type line struct {
	at   time.Time
	text string
}

func (o *output) Write(data []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	now := time.Now()
	o.rest = append(o.rest, data...)
	for {
		text, rest, ended := bytes.Cut(o.rest, []byte("\n"))
		if !ended {
			break
		}
		o.lines = append(o.lines, line{now, string(text)})
		o.rest = rest
	}
	o.lines = o.lines[max(0, len(o.lines)-kept):]
	return len(data), nil
}

// since are the lines from a time on, at most the last so many of them.
func (o *output) since(start time.Time, last int) []line {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	first := 0
	for first < len(o.lines) && o.lines[first].at.Before(start) {
		first++
	}
	return append([]line(nil), o.lines[max(first, len(o.lines)-last):]...)
}

// serveLogs is the one part of kubelet's API that is there, for kube-apiserver alone: the logs of a container.
func (n *node) serveLogs() (stop func(), err error) {
	certificate, err := tls.LoadX509KeyPair(n.Certificate, n.Key)
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(n.Authority)
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority)
	listener, err := net.Listen("tcp", net.JoinHostPort(Address, strconv.Itoa(logsPort)))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.answerLogs)
	server := &http.Server{Handler: mux, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
	}}
	go func() { _ = server.ServeTLS(listener, "", "") }() // ends by Close
	return func() { _ = server.Close() }, nil
}

func (n *node) answerLogs(w http.ResponseWriter, r *http.Request) {
	name := container{r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")}
	n.mutex.Lock()
	output, ok := n.logs[name]
	n.mutex.Unlock()
	if !ok {
		http.Error(w, "no such container runs", http.StatusNotFound)
		return
	}
	query := r.URL.Query()
	start, last := time.Time{}, kept
	if text := query.Get("sinceTime"); text != "" {
		start, _ = time.Parse(time.RFC3339, text) // kube-apiserver has judged it
	}
	if seconds, err := strconv.Atoi(query.Get("sinceSeconds")); err == nil {
		start = time.Now().Add(-time.Duration(seconds) * time.Second)
	}
	if lines, err := strconv.Atoi(query.Get("tailLines")); err == nil {
		last = lines
	}
	w.Header().Set("content-type", "text/plain")
	for _, line := range output.since(start, last) {
		if query.Get("timestamps") == "true" {
			fmt.Fprintf(w, "%s ", line.at.UTC().Format(time.RFC3339Nano))
		}
		fmt.Fprintln(w, line.text)
	}
}
