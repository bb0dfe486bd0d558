// Command oidc is an OpenID provider for the tests: the example of zitadel's library, which keeps everything in memory
// and knows the user test-user2 with the password verysecure.
//
//	oidc REDIRECT-URI…
//
// It listens on a free port of the loopback interface and prints its issuer URL, one line. Its clients are "web", which
// may send browsers to the given addresses, and "device"; the secret of both is "secret". It ends with its standard
// input. The folder is a module of its own, so that the product's go.mod stays free of it.
package main

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

// users also finds a user by the name in place of the id: the example's device flow takes one for the other.
type users struct{ storage.UserStore }

func (u users) GetUserByID(id string) *storage.User {
	if found := u.UserStore.GetUserByID(id); found != nil {
		return found
	}
	return u.GetUserByUsername(id)
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	issuer := "http://" + listener.Addr().String()
	storage.RegisterClients(storage.WebClient("web", "secret", os.Args[1:]...), storage.DeviceClient("device", "secret"))
	store := storage.NewStorage(users{storage.NewUserStore(issuer)})
	handler := exampleop.SetupServer(issuer, store, slog.New(slog.NewTextHandler(os.Stderr, nil)), false)
	fmt.Println(issuer)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log.Fatal(http.Serve(listener, handler)) //nolint:gosec // a test
}
