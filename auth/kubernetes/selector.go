package kubernetes

import (
	"errors"

	"sigs.k8s.io/yaml"
)

// selector are the labels that a namespace must have, every one of them.
type selector map[string]string

var errSelector = errors.New("kubernetes: not a label selector of matchLabels")

// parseSelector reads a label selector, JSON or YAML. A field that is not known is an error, because a
// selector that lost its labels to a slip of the pen would fit every namespace.
func parseSelector(text string) (selector, error) {
	var s *struct {
		Labels selector `json:"matchLabels"`
	}
	if err := yaml.UnmarshalStrict([]byte(text), &s); err != nil || s == nil {
		return nil, errSelector
	}
	return s.Labels, nil
}

func (s selector) matches(labels map[string]string) bool {
	for name, want := range s {
		if got, ok := labels[name]; !ok || got != want {
			return false
		}
	}
	return true
}
