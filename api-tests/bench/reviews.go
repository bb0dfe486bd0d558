package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// reviewPath is where an API server is asked whose a token is.
	reviewPath = "/apis/authentication.k8s.io/v1/tokenreviews"
	// namespace and account are those of the ServiceAccount that logs in.
	namespace = "bench"
	account   = "app"
	// accountUID is the ServiceAccount's at a reviewer; a real API server chooses its own.
	accountUID = "4a5c0c1e-7a1f-4a52-9f0e-2f1f3f0c9a11"
	// clusterIssuer is whose tokens they are, and for whom.
	clusterIssuer = "https://kubernetes.default.svc.cluster.local"
	// podTokens is how many tokens of the ServiceAccount take turns: External Secrets Operator asks for a new one for every
	// login, and a server that remembered one must not look fast by it.
	podTokens = 64
	// podTokenLife is longer than any run.
	podTokenLife = 24 * time.Hour
)

// reviewer stands in for a cluster's API server in what a login asks of it: TokenReviews over TLS, with HTTP/1.1 and
// HTTP/2 as the real one. It vouches for tokens that it has signed, and costs so little that the servers' own work shows.
type reviewer struct {
	cluster  podCluster
	known    map[string]bool
	reviews  atomic.Int64 // How many tokens it has vouched for.
	server   *http.Server
	listener net.Listener
	ended    chan error
}

// startReviewer serves on a free loopback port. The caller must close it.
func startReviewer() (*reviewer, error) {
	cert, err := selfSigned()
	if err != nil {
		return nil, err
	}
	tokens, err := signTokens(podTokens, time.Now())
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &reviewer{
		cluster: podCluster{
			host: "https://" + listener.Addr().String(), reviewer: rand.Text(), tokens: tokens,
			ca: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})),
		},
		known: map[string]bool{}, listener: listener, ended: make(chan error, 1),
	}
	for _, token := range tokens {
		r.known[token] = true
	}
	r.server = &http.Server{
		Handler:   r,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ErrorLog:  log.New(io.Discard, "", 0), // Connections end as they like.
	}
	go func() { r.ended <- r.server.ServeTLS(listener, "", "") }()
	return r, nil
}

func (r *reviewer) close() error {
	err := r.server.Close()
	if ended := <-r.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// tokenReview is the question and the answer, as far as they are looked at.
type tokenReview struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Spec       reviewSpec   `json:"spec"`
	Status     reviewStatus `json:"status,omitzero"`
}

type reviewSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences,omitempty"`
}

type reviewStatus struct {
	Authenticated bool       `json:"authenticated,omitempty"`
	User          reviewUser `json:"user,omitzero"`
	Audiences     []string   `json:"audiences,omitempty"`
	Error         string     `json:"error,omitempty"`
}

type reviewUser struct {
	Username string   `json:"username"`
	UID      string   `json:"uid"`
	Groups   []string `json:"groups"`
}

// ServeHTTP answers TokenReviews of whoever has the reviewer's token.
func (r *reviewer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Authorization") != "Bearer "+r.cluster.reviewer {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var review tokenReview
	if req.URL.Path != reviewPath || json.NewDecoder(req.Body).Decode(&review) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	review.Status = reviewStatus{Error: "invalid bearer token"}
	if r.known[review.Spec.Token] {
		r.reviews.Add(1)
		review.Status = reviewStatus{
			Authenticated: true,
			User: reviewUser{
				Username: "system:serviceaccount:" + namespace + ":" + account, UID: accountUID,
				Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
			},
			Audiences: review.Spec.Audiences,
		}
	}
	answer, err := json.Marshal(review)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(answer) // A client that went away is no concern of a benchmark.
}

// signTokens are tokens of the ServiceAccount in the form of Kubernetes', signed with RS256 as clusters do.
func signTokens(count int, now time.Time) ([]string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key},
		(&jose.SignerOptions{}).WithHeader("kid", rand.Text()))
	if err != nil {
		return nil, err
	}
	tokens := make([]string, count)
	for i := range tokens {
		issued := jwt.NewNumericDate(now)
		tokens[i], err = jwt.Signed(signer).Claims(jwt.Claims{
			Issuer: clusterIssuer, Subject: "system:serviceaccount:" + namespace + ":" + account, ID: fmt.Sprint(i),
			IssuedAt: issued, NotBefore: issued, Expiry: jwt.NewNumericDate(now.Add(podTokenLife)),
		}).Claims(map[string]any{
			"aud": []string{clusterIssuer},
			"kubernetes.io": map[string]any{
				"namespace": namespace, "serviceaccount": map[string]string{"name": account, "uid": accountUID},
			},
		}).Serialize()
		if err != nil {
			return nil, err
		}
	}
	return tokens, nil
}

// selfSigned is a certificate for the loopback address that is its own CA.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(podTokenLife),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
