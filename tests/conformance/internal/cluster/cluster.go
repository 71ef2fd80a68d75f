// Package cluster runs a Kubernetes cluster of one node for the time of a test: etcd, kube-apiserver,
// kube-controller-manager, and the stand-in for kubelet of package node. Everything listens on the loopback interface or
// on 10.244.0.1, so it wants a network namespace to itself, which is its caller's to make.
package cluster

import (
	"context"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	api "k8s.io/client-go/tools/clientcmd/api"

	"sekisho.dev/conformance/internal/node"
)

const (
	etcdClients = "http://127.0.0.1:23790"
	etcdPeers   = "http://127.0.0.1:23800"
	server      = "https://127.0.0.1:16443"

	// startup is how long a part may take until it answers, on a machine that is busy.
	startup = 2 * time.Minute
)

// Options say where things are.
type Options struct {
	Binaries string              // directory of kube-apiserver, kube-controller-manager and kubectl
	State    string              // directory of keys and data, the caller's to remove
	Logs     string              // directory of logs
	Images   map[string][]string // what runs instead of an image, see node.Options
}

// Cluster is what runs. Stop ends it.
type Cluster struct {
	Kubeconfig string // of an administrator
	Client     kubernetes.Interface

	options   Options
	processes []*process // in the order of their start
	endNode   context.CancelFunc
	nodeEnded chan struct{}
	stopping  atomic.Bool
	failed    chan error
}

// Start returns when the API answers and pods are run. A cluster whose start failed has been stopped.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	c := &Cluster{options: options, failed: make(chan error, 8)}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	keys, err := newAuthority(c.options.State)
	if err == nil {
		err = errors.Join(
			keys.issue("server", pkix.Name{CommonName: "kube-apiserver"}, "127.0.0.1"),
			keys.issue("node", pkix.Name{CommonName: node.Name}, node.Address),
			keys.issue("admin", pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}),
			keys.pair("accounts"),
		)
	}
	if err != nil {
		return err
	}
	c.Kubeconfig, err = c.kubeconfig("admin", metav1.NamespaceDefault, &api.AuthInfo{
		ClientCertificate: c.state("admin.crt"), ClientKey: c.state("admin.key"),
	})
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // nobody else is to be spared
	if c.Client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}

	if err := c.startServers(ctx); err != nil {
		return err
	}
	return c.startNode(config)
}

func (c *Cluster) startServers(ctx context.Context) error {
	err := c.Run("etcd", nil, c.binary("etcd"),
		"--data-dir="+c.state("etcd"),
		"--listen-client-urls="+etcdClients, "--advertise-client-urls="+etcdClients,
		"--listen-peer-urls="+etcdPeers, "--initial-advertise-peer-urls="+etcdPeers,
		"--initial-cluster=default="+etcdPeers,
		"--unsafe-no-fsync", "--logger=zap", "--log-level=warn")
	if err != nil {
		return err
	}
	err = c.Run("kube-apiserver", nil, c.binary("kube-apiserver"),
		"--etcd-servers="+etcdClients,
		"--bind-address=127.0.0.1", "--secure-port=16443",
		// An address of the loopback interface cannot be that of an endpoint, so there is none of the API itself.
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file="+c.state("server.crt"), "--tls-private-key-file="+c.state("server.key"),
		"--client-ca-file="+c.state("ca.crt"), "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.state("accounts.pub"),
		"--service-account-signing-key-file="+c.state("accounts.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--kubelet-certificate-authority="+c.state("ca.crt"),
		"--kubelet-client-certificate="+c.state("admin.crt"), "--kubelet-client-key="+c.state("admin.key"),
		"--kubelet-preferred-address-types=InternalIP")
	if err != nil {
		return err
	}
	err = c.Until(ctx, "kube-apiserver is ready", func(ctx context.Context) error {
		return c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err != nil {
		return err
	}
	return c.Run("kube-controller-manager", nil, c.binary("kube-controller-manager"),
		"--kubeconfig="+c.Kubeconfig, "--bind-address=127.0.0.1", "--leader-elect=false",
		"--service-account-private-key-file="+c.state("accounts.key"), "--root-ca-file="+c.state("ca.crt"),
		"--kube-api-qps=500", "--kube-api-burst=1000",
		"--controllers=deployment-controller,replicaset-controller,endpointslice-controller,namespace-controller,"+
			"garbage-collector-controller,serviceaccount-controller,root-ca-certificate-publisher-controller")
}

func (c *Cluster) startNode(config *rest.Config) error {
	log, err := os.Create(filepath.Join(c.options.Logs, "node.log"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.endNode, c.nodeEnded = cancel, make(chan struct{})
	go func() {
		defer close(c.nodeEnded)
		defer log.Close()
		err := node.Run(ctx, node.Options{
			Client:      c.Client,
			Images:      c.options.Images,
			Volumes:     c.state("volumes"),
			Log:         log,
			Certificate: c.state("node.crt"), Key: c.state("node.key"), Authority: c.state("ca.crt"),
		})
		if err != nil && !c.stopping.Load() {
			c.failed <- fmt.Errorf("the node failed: %w", err)
		}
	}()
	return nil
}

// Run starts one more server, which ends with the cluster. The cluster has failed when it ends before.
func (c *Cluster) Run(name string, env []string, argv ...string) error {
	died := func(p *process) {
		if !c.stopping.Load() {
			c.failed <- fmt.Errorf("%s ended: %s\n%s", p.name, p.cmd.ProcessState, p.last(10))
		}
	}
	p, err := start(c.options.Logs, name, died, env, argv...)
	if err == nil {
		c.processes = append(c.processes, p)
	}
	return err
}

// Failed tells when a part has ended that nobody asked to.
func (c *Cluster) Failed() <-chan error { return c.failed }

// Until asks again until there is no error.
func (c *Cluster) Until(ctx context.Context, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startup)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case failure := <-c.failed:
			return failure
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w (%w)", what, err, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Apply is `kubectl apply` of files and directories.
func (c *Cluster) Apply(ctx context.Context, paths ...string) error {
	args := []string{"apply", "--server-side", "--force-conflicts"}
	for _, path := range paths {
		args = append(args, "-f", path)
	}
	return c.kubectl(ctx, args...)
}

// Established waits until every kind that a CustomResourceDefinition defines is served.
func (c *Cluster) Established(ctx context.Context) error {
	return c.Until(ctx, "all kinds are served", func(ctx context.Context) error {
		var definitions struct{ Items []object }
		if err := c.get(ctx, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definitions); err != nil {
			return err
		}
		for _, definition := range definitions.Items {
			if !definition.is("Established") {
				return fmt.Errorf("%s is not established", definition.Metadata.Name)
			}
		}
		return nil
	})
}

func (c *Cluster) kubectl(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, c.binary("kubectl"), append([]string{"--kubeconfig=" + c.Kubeconfig}, args...)...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w\n%s", args[0], err, output)
	}
	return nil
}

// AccountKubeconfig is the path of one that speaks for a service account, in its namespace.
func (c *Cluster) AccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	hours := int64(24 * 60 * 60)
	token, err := c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hours},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return c.kubeconfig(name, namespace, &api.AuthInfo{Token: token.Status.Token})
}

func (c *Cluster) kubeconfig(name, namespace string, user *api.AuthInfo) (string, error) {
	path := c.state(name + ".kubeconfig")
	return path, clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{"rig": {Server: server, CertificateAuthority: c.state("ca.crt")}},
		AuthInfos:      map[string]*api.AuthInfo{name: user},
		Contexts:       map[string]*api.Context{"rig": {Cluster: "rig", AuthInfo: name, Namespace: namespace}},
		CurrentContext: "rig",
	}, path)
}

// Accepted asks whether a controller has accepted a GatewayClass.
func (c *Cluster) Accepted(ctx context.Context, class string) error {
	var found object
	if err := c.get(ctx, "/apis/gateway.networking.k8s.io/v1/gatewayclasses/"+class, &found); err != nil {
		return err
	}
	if !found.is("Accepted") {
		return fmt.Errorf("its conditions are %v", found.Status.Conditions)
	}
	return nil
}

// Release is that of the Gateway API's CRDs, which is the suite's as well, or the suite refuses.
func (c *Cluster) Release(ctx context.Context) (string, error) {
	var found object
	const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gateways.gateway.networking.k8s.io"
	err := c.get(ctx, path, &found)
	return found.Metadata.Annotations["gateway.networking.k8s.io/bundle-version"], err
}

// object is what is read of any object here.
type object struct {
	Metadata metav1.ObjectMeta
	Status   struct{ Conditions []metav1.Condition }
}

func (o *object) is(condition string) bool {
	return meta.IsStatusConditionTrue(o.Status.Conditions, condition)
}

func (c *Cluster) get(ctx context.Context, path string, into any) error {
	raw, err := c.Client.Discovery().RESTClient().Get().AbsPath(path).Do(ctx).Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// Stop ends every part: the last started first, the node before what it talks to.
func (c *Cluster) Stop() {
	c.stopping.Store(true)
	for _, p := range slices.Backward(c.processes) {
		if p.name == "kube-controller-manager" {
			c.stopNode()
		}
		p.stop(10 * time.Second)
	}
}

func (c *Cluster) stopNode() {
	if c.endNode != nil {
		c.endNode()
		<-c.nodeEnded
	}
}

// Peaks says how much memory each server had resident at most, once the cluster is stopped.
func (c *Cluster) Peaks() string {
	text := ""
	for _, p := range c.processes {
		text += fmt.Sprintf("  %-24s %4d MiB\n", p.name, p.peak()>>20)
	}
	return text
}

// binary prefers those that KUBEBUILDER_ASSETS names, as other tests of Kubernetes do.
func (c *Cluster) binary(name string) string {
	for _, dir := range []string{os.Getenv("KUBEBUILDER_ASSETS"), c.options.Binaries} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); dir != "" && err == nil {
			return path
		}
	}
	return name // wherever PATH has it
}

func (c *Cluster) state(name string) string { return filepath.Join(c.options.State, name) }
