package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a server that runs until it is told to end.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// start runs a server whose output goes to LOGS/NAME.log. It is in a session of its own: Ctrl-C does not end it before those
// that need it, and where the kernel schedules by session (sched_autogroup_enabled) it has a share of the processors to
// itself, as a container has, in which the priorities of its threads count among themselves only. `died` is called when it
// ends, whoever ended it.
func start(logs, name string, died func(*process), env []string, argv ...string) (*process, error) {
	p := &process{
		name: name,
		cmd:  exec.Command(argv[0], argv[1:]...),
		log:  filepath.Join(logs, name+".log"),
		done: make(chan struct{}),
	}
	output, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	p.cmd.Stdout, p.cmd.Stderr = output, output
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s does not start: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // what it says is in ProcessState
		close(p.done)
		died(p)
	}()
	return p, nil
}

// stop asks it to end, and kills it when it has not done so in time.
func (p *process) stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// peak is the most memory that an ended process had resident, in bytes.
func (p *process) peak() int64 {
	usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return usage.Maxrss << 10
}

// last is the end of its log.
func (p *process) last(lines int) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
