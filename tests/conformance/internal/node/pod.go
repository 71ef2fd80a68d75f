package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// process is what will run for a pod.
type process struct {
	container   container
	command     []string
	environment []string
}

// prepare finds out what runs for the pod, and writes its volumes. A volume whose content is not there is an error that
// may pass.
func (n *node) prepare(ctx context.Context, pod *corev1.Pod) (*process, error) {
	if len(pod.Spec.Containers) != 1 {
		return nil, fmt.Errorf("has %d containers, and the stand-in runs pods of one", len(pod.Spec.Containers))
	}
	spec := pod.Spec.Containers[0]
	command, ok := n.Images[imageName(spec.Image)]
	if !ok {
		return nil, fmt.Errorf("no image %s here", spec.Image)
	}
	p := &process{
		container:   container{pod.Namespace, pod.Name, spec.Name},
		command:     command,
		environment: []string{"PATH=" + os.Getenv("PATH")},
	}

	mounts := map[string]string{} // where the container has a volume → where it is
	for _, mount := range spec.VolumeMounts {
		for _, volume := range pod.Spec.Volumes {
			if volume.Name != mount.Name {
				continue
			}
			dir := filepath.Join(n.Volumes, string(pod.UID), volume.Name)
			if err := n.write(ctx, pod.Namespace, volume, dir); err != nil {
				return nil, err
			}
			mounts[mount.MountPath] = dir
		}
	}
	for _, variable := range spec.Env {
		value, err := valueOf(pod, variable)
		if err != nil {
			return nil, err
		}
		// The process sees the machine's own file system: a path into a volume is told as the one that it has there.
		for path, dir := range mounts {
			if value == path || strings.HasPrefix(value, path+"/") {
				value = dir + strings.TrimPrefix(value, path)
			}
		}
		p.environment = append(p.environment, variable.Name+"="+value)
	}
	return p, nil
}

// imageName is `gateway-api/echo-basic` of `example.com/gateway-api/echo-basic:v1.5.1`.
func imageName(image string) string {
	parts := strings.Split(image, "/")
	name := strings.Join(parts[max(0, len(parts)-2):], "/")
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	return name
}

func valueOf(pod *corev1.Pod, variable corev1.EnvVar) (string, error) {
	if variable.ValueFrom == nil {
		return variable.Value, nil
	}
	if field := variable.ValueFrom.FieldRef; field != nil {
		switch field.FieldPath {
		case "metadata.name":
			return pod.Name, nil
		case "metadata.namespace":
			return pod.Namespace, nil
		}
	}
	return "", fmt.Errorf("the stand-in does not know where variable %s comes from", variable.Name)
}

// write puts into a directory what a Secret or ConfigMap holds. Of the token that every pod is given nothing is written.
func (n *node) write(ctx context.Context, namespace string, volume corev1.Volume, dir string) error {
	content := map[string][]byte{}
	var items []corev1.KeyToPath
	switch {
	case volume.Secret != nil:
		secret, err := n.Client.CoreV1().Secrets(namespace).Get(ctx, volume.Secret.SecretName, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
		content, items = secret.Data, volume.Secret.Items
	case volume.ConfigMap != nil:
		object, err := n.Client.CoreV1().ConfigMaps(namespace).Get(ctx, volume.ConfigMap.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
		for key, text := range object.Data {
			content[key] = []byte(text)
		}
		items = volume.ConfigMap.Items
	case volume.Projected != nil:
	default:
		return fmt.Errorf("volume %s: the stand-in knows Secrets and ConfigMaps", volume.Name)
	}
	if items == nil {
		for key := range content {
			items = append(items, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, item := range items {
		data, ok := content[item.Key]
		if !ok {
			return fmt.Errorf("volume %s: no key %s", volume.Name, item.Key)
		}
		if err := os.WriteFile(filepath.Join(dir, item.Path), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// running is a pod's process.
type running struct {
	container container
	cmd       *exec.Cmd
	output    *output
	link      string        // the node's end of its cable
	done      chan struct{} // closed when it has ended
}

// start runs the process in a network namespace that vanishes with it. This program starts there first and waits for
// its cable (EnterPod), since only the process is a way to name its namespace.
func (p *process) start(address address) (*running, error) {
	plugged, plug, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer plugged.Close()
	defer plug.Close()
	cmd := exec.Command("/proc/self/exe", append([]string{"pod", address.String(), "--"}, p.command...)...)
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = p.environment
	cmd.ExtraFiles = []*os.File{plugged}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &running{container: p.container, cmd: cmd, output: out, link: address.link(), done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // what it says is in ProcessState
		close(r.done)
	}()
	if err := plugIn(r.link, cmd.Process.Pid); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// EnterPod is what `start` runs in the new network namespace: it waits for the cable, sets the pod's end up, and becomes
// the pod's process.
func EnterPod(address string, command []string) error {
	plugged := os.NewFile(3, "plugged")
	if _, err := plugged.Read(make([]byte, 1)); err == nil {
		return fmt.Errorf("something came through the pipe that only ends")
	}
	plugged.Close()
	if err := setUp(address); err != nil {
		return err
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, command, os.Environ())
}

func (r *running) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *running) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(time.Second):
		_ = r.cmd.Process.Kill()
		<-r.done
	}
	unplug(r.link)
}
