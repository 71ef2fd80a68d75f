// Command rig runs something beside a Kubernetes cluster of its own that Sekisho serves: the Gateway API's conformance
// suite, a shell, or any command. `rig -help` lists how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"sekisho.dev/conformance/internal/node"
)

const usage = `usage: rig [OPTIONS] suite [OPTIONS OF THE SUITE]   the conformance suite
       rig [OPTIONS] shell                          a shell, with kubectl
       rig [OPTIONS] run COMMAND…                   a command

Everything runs in namespaces of this run alone, and ends with it. Options:
`

type options struct {
	target    string // cargo's target directory
	manifests string
	reports   string
	sekisho   string
	channel   string
	run       string
	report    string
	bare      bool
	verbose   bool
	workers   int
	command   string
	argument  []string
}

func parse() options {
	o := options{}
	flag.StringVar(&o.target, "target", or(os.Getenv("CARGO_TARGET_DIR"), "target"), "cargo's target directory, where conformance/ is what build.sh made")
	flag.StringVar(&o.manifests, "manifests", "deploy/manifests", "directory of the gateway's account, roles and GatewayClass")
	flag.StringVar(&o.reports, "reports", "tests/conformance/reports", "directory of reports")
	flag.StringVar(&o.sekisho, "sekisho", os.Getenv("SEKISHO"), "the gateway (SEKISHO; by default debug/sekisho in the target directory)")
	flag.StringVar(&o.channel, "channel", "experimental", "channel of the Gateway API's CRDs: standard or experimental")
	flag.StringVar(&o.run, "run", "", "regular expression of the tests to run, by their whole names")
	flag.StringVar(&o.report, "report", "", "file to write the suite's report to (by default one among the reports, when all tests run)")
	flag.IntVar(&o.workers, "workers", 2, "the gateway's workers")
	flag.BoolVar(&o.verbose, "verbose", false, "print all that the suite says")
	flag.BoolVar(&o.bare, "bare", false, "without the gateway")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	o.sekisho = or(o.sekisho, filepath.Join(o.target, "debug", "sekisho"))
	o.command = flag.Arg(0)
	o.argument = flag.Args()[min(1, flag.NArg()):]
	wrong := o.command != "suite" && o.command != "shell" && o.command != "run" || o.command == "run" && len(o.argument) == 0
	if wrong {
		flag.Usage()
		os.Exit(2)
	}
	return o
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func main() {
	// What the node starts in a pod's network namespace.
	if len(os.Args) > 4 && os.Args[1] == "pod" {
		err := node.EnterPod(os.Args[2], os.Args[4:])
		fmt.Fprintln(os.Stderr, "rig: pod:", err)
		os.Exit(1)
	}
	o := parse()
	var err error
	if os.Getenv(insideVariable) == "" {
		err = goInside()
	} else {
		err = inside(o)
	}
	var ended *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &ended) && ended.ExitCode() > 0:
		os.Exit(ended.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "rig:", err)
		os.Exit(1)
	}
}

// insideVariable is set once the process has its namespaces.
const insideVariable = "SEKISHO_RIG_INSIDE"

// goInside runs this program once more in new namespaces: of the network, so that every address is free; of processes,
// so that nothing outlives it, however it ends; of mounts, for the /proc of these processes. Whoever is not root becomes
// root of a user namespace that holds them.
func goInside() error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGTERM, // when this process is killed; of the thread that starts it, hence the lock
	}
	runtime.LockOSThread()
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("namespaces of its own: %w", err)
	}
	go func() {
		for range signals {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}()
	return cmd.Wait()
}

// inside is the run itself, as process 1 of its namespaces.
func inside(o options) (err error) {
	os.Unsetenv(insideVariable)
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	if err := settle(); err != nil {
		return err
	}
	rig, err := newRig(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rig.close()) }()
	began := time.Now()
	if err := rig.start(ctx); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "rig: ready after %.1f s; logs are in %s\n", time.Since(began).Seconds(), rig.logs)
	switch o.command {
	case "suite":
		return rig.suite(ctx)
	case "shell":
		return rig.shell(ctx)
	default:
		return rig.command(ctx, o.argument, os.Stdout)
	}
}

// settle makes the new namespaces habitable.
func settle() error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("a /proc of its own: %w", err)
	}
	for _, arguments := range [][]string{
		{"link", "set", "lo", "up"},
		{"route", "add", "local", pool, "dev", "lo"},
	} {
		if output, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(arguments, " "), err, output)
		}
	}
	return nil
}
