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

type reservation struct {
	base  int
	guard net.Listener
}

func reserve() (*reservation, error) {
	for range portTries {
		base := firstPort + tripleSize*rand.IntN(triples)
		guard, err := net.Listen("tcp", loopback(base+2))
		if err != nil {
			continue
		}
		if free(base) && free(base+1) {
			return &reservation{base: base, guard: guard}, nil
		}
		if err := guard.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w after %d tries", errNoPort, portTries)
}

func (r *reservation) api() string     { return loopback(r.base) }
func (r *reservation) cluster() string { return loopback(r.base + 1) }

// release may be called more than once.
func (r *reservation) release() error {
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
