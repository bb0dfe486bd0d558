package ldap

// SecurityID is securityID.
var SecurityID = securityID

// Render gives the form of the filter that a template makes with a harmless name and with another; an error is
// the template's.
func Render(template, name string) (before, after string, err error) {
	f, err := parseFilter(template, "UserAttr", "Username")
	if err != nil {
		return "", "", err
	}
	if before, err = f.form("x"); err != nil {
		return "", "", err
	}
	after, formErr := f.form(name)
	if formErr != nil {
		after = formErr.Error()
	}
	return before, after, nil
}

// Filled is the filter that a template makes with a name.
func Filled(template, name string) (string, error) {
	f, err := parseFilter(template, "UserAttr", "Username")
	if err != nil {
		return "", err
	}
	return f.with(map[string]string{"UserAttr": "uid", "Username": name}), nil
}
