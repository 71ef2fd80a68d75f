package node

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

const (
	bridgeName = "br0"
	prefix     = "/24"
)

// address is the last part of 10.244.0.N.
type address int

func (a address) String() string { return fmt.Sprintf("10.244.0.%d", int(a)) }

// link is the name of the node's end of the cable to the pod at this address.
func (a address) link() string { return fmt.Sprintf("pod%d", int(a)) }

// addresses knows which are taken. One that was given back is the last to be taken again, so that nothing that still
// goes to the pod that had it finds another there.
type addresses struct {
	taken map[types.UID]address
	last  address
}

func (all *addresses) take(uid types.UID) (address, error) {
	if all.taken == nil {
		all.taken, all.last = map[types.UID]address{}, 1
	}
	used := map[address]bool{}
	for _, a := range all.taken {
		used[a] = true
	}
	for range 253 {
		all.last++
		if all.last > 254 {
			all.last = 2
		}
		if !used[all.last] {
			all.taken[uid] = all.last
			return all.last, nil
		}
	}
	return 0, errors.New("no address is left")
}

func (all *addresses) give(uid types.UID) { delete(all.taken, uid) }

// bridge makes what the pods' cables are plugged into.
func bridge() error {
	return ip(
		"link add "+bridgeName+" type bridge",
		"addr add "+Address+prefix+" dev "+bridgeName,
		"link set "+bridgeName+" up",
	)
}

// plugIn lays a cable from the bridge to the network namespace of a process.
func plugIn(link string, pid int) error {
	return ip(
		"link add "+link+" type veth peer name eth0 netns "+strconv.Itoa(pid),
		"link set "+link+" master "+bridgeName+" up",
	)
}

// unplug may find nothing: the cable goes away by itself some time after the namespace at its other end.
func unplug(link string) { _ = ip("link del " + link) }

// setUp is done at the pod's end.
func setUp(address string) error {
	return ip(
		"link set lo up",
		"addr add "+address+prefix+" dev eth0",
		"link set eth0 up",
		"route add default via "+Address,
	)
}

func ip(commands ...string) error {
	for _, command := range commands {
		if output, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, strings.TrimSpace(string(output)))
		}
	}
	return nil
}
