package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sekisho.dev/conformance/internal/cluster"
)

const (
	class     = "sekisho"
	namespace = "sekisho-system" // of the gateway's account and lease
	account   = "sekisho"
	admin     = "127.0.0.1:15000"

	// Every Gateway's address is of these. They are the node's, and pods reach them, so that EndpointSlices may have them.
	pool = "10.244.1.0/24"
	// usable is one of them, far from the first ones, which are given to Gateways that ask for none; unusable is none.
	usable   = "10.244.1.200"
	unusable = "198.51.100.1"

	profiles = "GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP"
)

// manifests are those of the ones for a real cluster that do not start the gateway, which is started here: what it may do
// here is what it may do there.
var manifests = []string{
	"namespace", "serviceaccount", "rbac-core", "rbac-lease", "rbac-gateway-api", "rbac-gateway-services", "rbac-istio",
	"rbac-secrets", "gatewayclass",
}

// rig is a cluster, the gateway that serves it, and what is run beside them.
type rig struct {
	options
	built   string // what build.sh made
	state   string // removed at the end
	logs    string // kept
	cluster *cluster.Cluster
}

func newRig(o options) (*rig, error) {
	target, err := filepath.Abs(o.target)
	if err != nil {
		return nil, err
	}
	state, err := os.MkdirTemp("", "sekisho-rig-")
	if err != nil {
		return nil, err
	}
	built := filepath.Join(target, "conformance")
	// The temporary directory's name is this run's alone; so is that of its logs.
	logs := filepath.Join(built, "logs", strings.TrimPrefix(filepath.Base(state), "sekisho-rig-"))
	return &rig{options: o, built: built, state: state, logs: logs}, os.MkdirAll(logs, 0o755)
}

func (r *rig) start(ctx context.Context) (err error) {
	r.cluster, err = cluster.Start(ctx, cluster.Options{
		Binaries: r.bin(),
		State:    r.state,
		Logs:     r.logs,
		Images: map[string][]string{
			"gateway-api/echo-basic": {r.bin("echo-basic")},
			// Asked by tests of UDPRoute alone, but waited for by all: it is there, and answers nothing.
			"coredns/coredns": {"sleep", "infinity"},
		},
	})
	if err != nil {
		return err
	}
	err = r.cluster.Apply(ctx, filepath.Join(r.built, "crds", r.channel), filepath.Join(r.built, "crds", "istio"))
	if err != nil {
		return err
	}
	if err := r.cluster.Established(ctx); err != nil {
		return err
	}
	paths := []string{}
	for _, name := range manifests {
		paths = append(paths, filepath.Join(r.manifests, name+".yaml"))
	}
	if err := r.cluster.Apply(ctx, paths...); err != nil || r.bare {
		return err
	}
	return r.startGateway(ctx)
}

func (r *rig) startGateway(ctx context.Context) error {
	kubeconfig, err := r.cluster.AccountKubeconfig(ctx, namespace, account)
	if err != nil {
		return err
	}
	config, err := json.MarshalIndent(map[string]any{
		"resources":  []string{"kubernetes:"},
		"kubernetes": map[string]any{"kubeconfig": kubeconfig, "gatewayServices": true},
		"gateway":    map[string]any{"className": class, "pool": []string{pool}},
		"workers":    r.workers,
		"admin":      map[string]any{"address": admin},
	}, "", "  ")
	if err != nil {
		return err
	}
	path := r.config()
	if err := os.WriteFile(path, config, 0o600); err != nil {
		return err
	}
	if err := r.cluster.Run("sekisho", nil, r.sekisho, "run", "--config", path); err != nil {
		return err
	}
	return r.cluster.Until(ctx, "the gateway accepts its GatewayClass", func(ctx context.Context) error {
		return r.cluster.Accepted(ctx, class)
	})
}

// suite runs the Gateway API's own tests, for the features that the GatewayClass claims.
func (r *rig) suite(ctx context.Context) error {
	arguments := []string{
		r.bin("conformance.test"), "-test.v", "-test.timeout=2h",
		"-gateway-class=" + class, "-conformance-profiles=" + profiles,
		"-usable-address=" + usable, "-unusable-address=" + unusable,
		"-cleanup-base-resources=false", // the cluster ends with the run
	}
	report := r.report
	if r.run != "" {
		arguments = append(arguments, "-test.run=^TestConformance$/^("+r.run+")$")
	} else {
		arguments = append(arguments, "-test.run=^TestConformance$") // beside tests of the suite itself
		release, err := r.cluster.Release(ctx)
		if err != nil {
			return err
		}
		report = or(report, filepath.Join(r.reports, release+"-"+r.channel+"-sekisho.yaml"))
	}
	if report != "" {
		if err := os.MkdirAll(filepath.Dir(report), 0o755); err != nil {
			return err
		}
		arguments = append(arguments, "-report-output="+report,
			"-organization=sekisho", "-project=sekisho", "-url=https://sekisho.dev", "-version=0.1.0",
			"-contact=https://sekisho.dev")
	}
	arguments = append(arguments, r.argument...)
	if r.verbose {
		return r.command(ctx, arguments, os.Stdout)
	}
	path := filepath.Join(r.logs, "suite.log")
	log, err := os.Create(path)
	if err != nil {
		return err
	}
	defer log.Close()
	seen := newProgress(os.Stdout)
	err = r.command(ctx, arguments, io.MultiWriter(log, seen))
	seen.end()
	if err != nil {
		fmt.Fprintln(os.Stderr, "rig: all that the suite says is in", path)
	}
	return err
}

func (r *rig) shell(ctx context.Context) error {
	return r.command(ctx, []string{or(os.Getenv("SHELL"), "bash")}, os.Stdout)
}

// command runs beside the cluster, until it ends, a part of the cluster fails, or the run is to end.
func (r *rig) command(ctx context.Context, argv []string, output io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case failure := <-r.cluster.Failed():
			cancel(failure)
		case <-ctx.Done():
		}
	}()
	sekisho, err := filepath.Abs(r.sekisho)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, output, os.Stderr
	cmd.Env = append(os.Environ(),
		"KUBECONFIG="+r.cluster.Kubeconfig,
		"PATH="+strings.Join([]string{r.bin(), filepath.Dir(sekisho), os.Getenv("PATH")}, ":"),
		"RIG_STATE="+r.state, "RIG_LOGS="+r.logs, "RIG_CONFIG="+r.config())
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (r *rig) close() error {
	if r.cluster != nil {
		r.cluster.Stop()
		fmt.Fprint(os.Stderr, "rig: most memory resident:\n", r.cluster.Peaks())
	}
	return os.RemoveAll(r.state)
}

func (r *rig) bin(name ...string) string {
	return filepath.Join(append([]string{r.built, "bin"}, name...)...)
}

func (r *rig) config() string { return filepath.Join(r.state, "sekisho.json") }
