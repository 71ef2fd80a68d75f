// Package node stands in for kubelet, kube-scheduler and a container runtime: it takes every pod for its one node, and
// runs it as a process in a network namespace of its own. It knows just what the pods of the conformance suite need.
package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	// Name is the node's.
	Name = "node1"
	// Address is where the node is reached, by pods and by kube-apiserver.
	Address = "10.244.0.1"
)

// Options say what the node runs on.
type Options struct {
	Client kubernetes.Interface
	// Images names a command for an image: the last two parts of the image's name, without its tag, as in
	// `gateway-api/echo-basic`. Other images cannot be had.
	Images map[string][]string
	// Volumes is the directory of the pods' volumes, which the node makes.
	Volumes string
	// Log is where it says what it does.
	Log io.Writer
	// Certificate, Key and Authority are files: what the node shows, and what its clients' certificates are verified by.
	Certificate, Key, Authority string
}

type node struct {
	Options
	pods      map[types.UID]*running // the loop's alone
	addresses addresses
	said      map[types.UID]string // what was last said of a pod, so that it is not said again

	mutex sync.Mutex
	logs  map[container]*output // of the pods that run
}

type container struct{ namespace, pod, name string }

// Run keeps pods running until the context ends, and takes them along.
func Run(ctx context.Context, options Options) error {
	n := &node{
		Options: options,
		pods:    map[types.UID]*running{},
		said:    map[types.UID]string{},
		logs:    map[container]*output{},
	}
	if err := bridge(); err != nil {
		return err
	}
	closeLogs, err := n.serveLogs()
	if err != nil {
		return err
	}
	defer closeLogs()
	if err := n.register(ctx); err != nil {
		return err
	}

	changed := make(chan struct{}, 1)
	wake := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	factory := informers.NewSharedInformerFactory(n.Client, 0)
	pods := factory.Core().V1().Pods()
	_, err = pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { wake() },
		UpdateFunc: func(any, any) { wake() },
		DeleteFunc: func(any) { wake() },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	factory.WaitForCacheSync(ctx.Done())
	defer n.stopAll()

	// A pod may wait for what is no pod (a Secret), or have ended by itself: looked at again without a change.
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again.C:
		}
		all, err := pods.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		n.look(ctx, all)
	}
}

// register makes the Node that pods are bound to and that kube-apiserver finds its way to logs by.
func (n *node) register(ctx context.Context) error {
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: Name, Labels: map[string]string{corev1.LabelHostname: Name}}}
	if _, err := n.Client.CoreV1().Nodes().Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	status, err := json.Marshal(map[string]any{"status": corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: Address}, {Type: corev1.NodeHostName, Address: Name}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: logsPort}},
		Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Ready", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}},
	}})
	if err != nil {
		return err
	}
	_, err = n.Client.CoreV1().Nodes().PatchStatus(ctx, Name, status)
	return err
}

// look takes each pod one step on.
func (n *node) look(ctx context.Context, all []*corev1.Pod) {
	there := map[types.UID]bool{}
	for _, pod := range all {
		there[pod.UID] = true
		err := n.step(ctx, pod)
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			n.say(pod.UID, "%s/%s: %v", pod.Namespace, pod.Name, err)
		}
	}
	for uid := range n.pods {
		if !there[uid] {
			n.stop(uid)
		}
	}
}

func (n *node) step(ctx context.Context, pod *corev1.Pod) error {
	running := n.pods[pod.UID]
	switch {
	case pod.DeletionTimestamp != nil:
		n.stop(pod.UID)
		now := int64(0)
		return n.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
	case pod.Spec.NodeName == "":
		return n.Client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: Name},
		}, metav1.CreateOptions{})
	case running == nil:
		return n.start(ctx, pod)
	case running.ended():
		n.say(pod.UID, "%s/%s: ended: %s", pod.Namespace, pod.Name, running.cmd.ProcessState)
		n.stop(pod.UID)
		return n.start(ctx, pod)
	}
	return nil
}

func (n *node) start(ctx context.Context, pod *corev1.Pod) error {
	process, err := n.prepare(ctx, pod)
	if err != nil {
		return err
	}
	address, err := n.addresses.take(pod.UID)
	if err != nil {
		return err
	}
	started, err := process.start(address)
	if err != nil {
		n.addresses.give(pod.UID)
		return err
	}
	n.pods[pod.UID] = started
	n.mutex.Lock()
	n.logs[process.container] = started.output
	n.mutex.Unlock()
	n.say(pod.UID, "%s/%s: runs at %s", pod.Namespace, pod.Name, address)

	status, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   ready(pod, address.String()),
	})
	if err != nil {
		return err
	}
	_, err = n.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, status,
		metav1.PatchOptions{}, "status")
	if err != nil {
		n.stop(pod.UID) // and again, so that the status is not forgotten
	}
	return err
}

// ready is the status of a pod whose containers all run; without probes that is to be ready.
func ready(pod *corev1.Pod, address string) corev1.PodStatus {
	now := metav1.Now()
	yes := true
	status := corev1.PodStatus{
		Phase:     corev1.PodRunning,
		HostIP:    Address,
		HostIPs:   []corev1.HostIP{{IP: Address}},
		PodIP:     address,
		PodIPs:    []corev1.PodIP{{IP: address}},
		StartTime: &now,
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	for _, c := range pod.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, ImageID: c.Image, ContainerID: "process://" + string(pod.UID), Ready: true, Started: &yes,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	return status
}

func (n *node) stop(uid types.UID) {
	running, ok := n.pods[uid]
	if !ok {
		return
	}
	running.stop()
	delete(n.pods, uid)
	delete(n.said, uid)
	n.addresses.give(uid)
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.logs[running.container] == running.output {
		delete(n.logs, running.container)
	}
}

func (n *node) stopAll() {
	for uid := range n.pods {
		n.stop(uid)
	}
}

func (n *node) say(about types.UID, format string, arguments ...any) {
	text := fmt.Sprintf(format, arguments...)
	if n.said[about] != text {
		n.said[about] = text
		fmt.Fprintln(n.Log, time.Now().Format(time.TimeOnly), text)
	}
}
