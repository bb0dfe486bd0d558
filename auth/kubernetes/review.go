package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	authv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"coffer/auth/strictjson"
	"coffer/engines"
)

// errUnavailable is returned when the API server gave no verdict: it is out of reach or too slow, or does not
// let the reviewer ask. The operator has to do something.
var errUnavailable = errors.New("no verdict of the API server")

// errRejected is returned when the API server does not vouch for the token.
var errRejected = errors.New("the API server rejects the token")

// review asks the API server whose token it is. With audiences, it must be meant for one of them.
func (c *call) review(ctx context.Context, token engines.Token, audiences []string) (account, error) {
	question := &authv1.TokenReview{Spec: authv1.TokenReviewSpec{Token: token.Reveal(), Audiences: audiences}}
	var answer authv1.TokenReview
	result := c.request(c.api.Post().AbsPath("/apis/authentication.k8s.io/v1/tokenreviews")).Body(question).Do(ctx)
	err := result.Into(&answer)
	if err == nil {
		err = unambiguous(result)
	}
	if err != nil {
		if apierrors.IsUnauthorized(err) {
			return account{}, fmt.Errorf(
				"%w: it takes neither the reviewer's token nor, without one, the client's", errUnavailable)
		}
		return account{}, unavailable(ctx, err)
	}
	status := &answer.Status
	switch {
	case status.Error != "":
		return account{}, fmt.Errorf("%w: %s", errRejected, without(status.Error, token))
	case !status.Authenticated:
		return account{}, errRejected
	case len(audiences) > 0 && !slices.ContainsFunc(audiences, func(a string) bool {
		return slices.Contains(status.Audiences, a)
	}):
		return account{}, fmt.Errorf("%w: it is not meant for the audience", errRejected)
	}
	return reviewed(&status.User)
}

// unambiguous refuses an answer that could be read in two ways.
func unambiguous(answer rest.Result) error {
	raw, err := answer.Raw()
	if err != nil {
		return err
	}
	return strictjson.Check(raw)
}

// reviewed reads the ServiceAccount out of a user: system:serviceaccount:NAMESPACE:NAME.
func reviewed(user *authv1.UserInfo) (account, error) {
	parts := strings.Split(user.Username, ":")
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" || parts[2] == "" || parts[3] == "" {
		return account{}, fmt.Errorf("%w: it is not a ServiceAccount's", errRejected)
	}
	return account{namespace: parts[2], name: parts[3], uid: user.UID}, nil
}

// metadata is what is read of namespaces and ServiceAccounts.
type metadata struct {
	UID         string            `json:"uid"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func (c *call) metadata(ctx context.Context, elements ...string) (*metadata, error) {
	raw, err := c.read(ctx, elements...)
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	var object struct {
		Metadata metadata `json:"metadata"`
	}
	if strictjson.Unmarshal(raw, &object) != nil {
		return nil, fmt.Errorf("%w: its answer is not an object of Kubernetes", errUnavailable)
	}
	return &object.Metadata, nil
}

// namespaceLabels reads the labels of a namespace.
func (c *call) namespaceLabels(ctx context.Context, namespace string) (map[string]string, error) {
	m, err := c.metadata(ctx, "namespaces", namespace)
	if err != nil {
		return nil, err
	}
	return m.Labels, nil
}

// accountAnnotations reads the annotations of a ServiceAccount, which must be the one that was reviewed.
func (c *call) accountAnnotations(ctx context.Context, a account) (map[string]string, error) {
	m, err := c.metadata(ctx, "namespaces", a.namespace, "serviceaccounts", a.name)
	if err != nil {
		return nil, err
	}
	if m.UID != a.uid {
		return nil, fmt.Errorf("%w: the ServiceAccount was made anew", errRejected)
	}
	return m.Annotations, nil
}

// unavailable is the errUnavailable for an error of client-go. What the API server wrote stays out of it.
func unavailable(ctx context.Context, err error) error {
	var status apierrors.APIStatus
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return fmt.Errorf("%w: its answer is too large", errUnavailable)
	case errors.As(err, &status):
		return fmt.Errorf("%w: it answers %d %s", errUnavailable, status.Status().Code, status.Status().Reason)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errUnavailable, context.Cause(ctx))
	default:
		return fmt.Errorf("%w: %w", errUnavailable, err)
	}
}

// maxQuote bounds how much of the API server's words goes into the log, in bytes.
const maxQuote = 300

// without is a text of the API server for the log, shortened and without the token.
func without(text string, token engines.Token) string {
	text = strings.ReplaceAll(text, token.Reveal(), "[token]")
	if len(text) > maxQuote {
		text = text[:maxQuote] + "…"
	}
	return text
}
