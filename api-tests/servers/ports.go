package servers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are handed out in triples below the range from which systems take the ports of outgoing connections: API,
// cluster, guard. Whoever listens on the guard owns the triple, so two test processes on one machine cannot pick the
// same port, and the kernel frees it when the owner dies.
const (
	firstPort  = 20000
	tripleSize = 3
	triples    = 4000
	portTries  = 200
)

// errNoPort is returned when no free triple was found.
var errNoPort = errors.New("no free loopback ports")

// Ports are two loopback ports that no other test process takes until Release.
type Ports struct {
	base  int
	guard net.Listener
}

// ReservePorts finds two free ports.
func ReservePorts() (*Ports, error) {
	for range portTries {
		base := firstPort + tripleSize*rand.IntN(triples)
		guard, err := net.Listen("tcp", loopback(base+2))
		if err != nil {
			continue
		}
		if free(base) && free(base+1) {
			return &Ports{base: base, guard: guard}, nil
		}
		if err := guard.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w after %d tries", errNoPort, portTries)
}

// First is the address of the first port, such as 127.0.0.1:20000.
func (r *Ports) First() string { return loopback(r.base) }

// Second is the address of the second port.
func (r *Ports) Second() string { return loopback(r.base + 1) }

// Release may be called more than once.
func (r *Ports) Release() error {
	if err := r.guard.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func free(port int) bool {
	l, err := net.Listen("tcp", loopback(port))
	return err == nil && l.Close() == nil
}
