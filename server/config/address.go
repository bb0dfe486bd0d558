package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	sockaddr "github.com/hashicorp/go-sockaddr"
)

var (
	errHostPort = errors.New(`expected host:port, such as "127.0.0.1:8200" or "[::]:8200"`)
	errURL      = errors.New(`expected a URL with scheme and host, such as "https://vault.example.com:8200"`)
	errTemplate = errors.New("expected {{ GetPrivateIP }}, {{ GetPublicIP }} or {{ GetInterfaceIP \"name\" }}")
)

// listenAddress checks host:port. An empty host means every interface.
func listenAddress(text string) (string, error) {
	text, err := expandTemplate(text, hostAddress)
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", errHostPort
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || strings.ContainsAny(host, "/@ \t") {
		return "", errHostPort
	}
	return net.JoinHostPort(host, port), nil
}

// nextPort is the address with the port after it, where Vault listens for other nodes.
func nextPort(address string) string {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	port, err := strconv.ParseUint(text, 10, 16)
	switch {
	case err != nil:
		return ""
	case port == 0:
		return address
	case port == 65535:
		return net.JoinHostPort(host, "0")
	default:
		return net.JoinHostPort(host, strconv.FormatUint(port+1, 10))
	}
}

// apiURL checks the address that clients are sent to. "" stays "".
func apiURL(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	text, err := expandTemplate(text, hostAddress)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	// The text of a parse error repeats the URL, which may hold a password.
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return "", errURL
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%w, without user, query and fragment", errURL)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// clusterURL checks the address that other nodes use; host:port alone gets the scheme, as in Vault.
func clusterURL(text string) (string, error) {
	if text != "" && !strings.Contains(text, "://") {
		text = "https://" + text
	}
	return apiURL(text)
}

// template matches one use of go-sockaddr's template language. The few functions that configurations use
// are called directly: the template package would keep every method of the binary alive.
var template = regexp.MustCompile(`\{\{-?\s*(\w+)\s*(?:["` + "`" + `]([^"` + "`" + `]*)["` + "`" + `])?\s*-?\}\}`)

// expandTemplate replaces {{ GetPrivateIP }} and its like by what lookup knows, addresses of this host.
func expandTemplate(text string, lookup func(function, argument string) (string, error)) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	var failed error
	expanded := template.ReplaceAllStringFunc(text, func(match string) string {
		parts := template.FindStringSubmatch(match)
		ip, err := lookup(parts[1], parts[2])
		if err != nil {
			failed = err
		}
		return ip
	})
	if failed == nil && strings.Contains(expanded, "{{") {
		failed = errTemplate
	}
	return expanded, failed
}

func hostAddress(function, argument string) (string, error) {
	var ip string
	var err error
	switch function {
	case "GetPrivateIP":
		ip, err = sockaddr.GetPrivateIP()
	case "GetPublicIP":
		ip, err = sockaddr.GetPublicIP()
	case "GetInterfaceIP":
		ip, err = sockaddr.GetInterfaceIP(argument)
	default:
		return "", errTemplate
	}
	if err != nil || ip == "" {
		return "", fmt.Errorf("this host has no address for %s", function)
	}
	return ip, nil
}
