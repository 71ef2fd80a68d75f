package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"time"
)

var (
	begins = regexp.MustCompile(`^=== RUN +TestConformance/([^/]+)$`)
	ends   = regexp.MustCompile(`^ *--- FAIL: TestConformance/(.+) \(`)
	totals = regexp.MustCompile(`^    --- (PASS|FAIL|SKIP): TestConformance/[^/]+ \(`)
)

// progress tells of the suite's output, of which there is very much, which test has begun and which have failed. What the
// suite says of a test's end comes only after all tests.
type progress struct {
	to     io.Writer
	began  time.Time
	rest   []byte
	counts map[string]int
	failed []string
}

func newProgress(to io.Writer) *progress {
	return &progress{to: to, began: time.Now(), counts: map[string]int{}}
}

func (p *progress) Write(data []byte) (int, error) {
	p.rest = append(p.rest, data...)
	for {
		line, rest, ended := bytes.Cut(p.rest, []byte("\n"))
		if !ended {
			return len(data), nil
		}
		p.rest = rest
		if found := begins.FindSubmatch(line); found != nil {
			fmt.Fprintf(p.to, "%5.0f s  %s\n", time.Since(p.began).Seconds(), found[1])
		}
		if found := ends.FindSubmatch(line); found != nil {
			p.failed = append(p.failed, string(found[1]))
		}
		if found := totals.FindSubmatch(line); found != nil {
			p.counts[string(found[1])]++
		}
	}
}

func (p *progress) end() {
	for _, name := range p.failed {
		fmt.Fprintln(p.to, "failed:", name)
	}
	fmt.Fprintf(p.to, "%d tests passed, %d failed, %d are of features that are not claimed; %.0f s\n",
		p.counts["PASS"], p.counts["FAIL"], p.counts["SKIP"], time.Since(p.began).Seconds())
}
