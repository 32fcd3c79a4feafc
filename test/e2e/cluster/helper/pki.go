// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pki writes a cluster's keys to dir: one authority, one serving certificate
// for the API server (its names are sans), a client certificate and a
// kubeconfig for everyone who talks to it, and the service account key.
// A san of the form node:NAME asks for a kubelet's pair instead.
func pki(dir, server string, sans []string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, err := newAuthority(dir)
	if err != nil {
		return err
	}
	clients := map[string]pkix.Name{
		"admin":              {CommonName: "ebpol-admin", Organization: []string{"system:masters"}},
		"apiserver-kubelet":  {CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}},
		"controller-manager": {CommonName: "system:kube-controller-manager"},
		"scheduler":          {CommonName: "system:kube-scheduler"},
		"proxy":              {CommonName: "system:kube-proxy"},
		"front-proxy":        {CommonName: "front-proxy-client"},
	}
	var names []string
	for _, s := range sans {
		if n, ok := strings.CutPrefix(s, "node:"); ok {
			clients["kubelet-"+n] = pkix.Name{CommonName: "system:node:" + n, Organization: []string{"system:nodes"}}
		} else {
			names = append(names, s)
		}
	}
	if _, _, err := ca.issue("apiserver", pkix.Name{CommonName: "kube-apiserver"}, names); err != nil {
		return err
	}
	for file, subject := range clients {
		cert, key, err := ca.issue(file, subject, nil)
		if err != nil {
			return err
		}
		if err := ca.kubeconfig(file, "https://"+server, cert, key); err != nil {
			return err
		}
	}
	return serviceAccountKey(dir)
}

func serviceAccountKey(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if _, err := writePEM(filepath.Join(dir, "sa.pub"), "PUBLIC KEY", pub); err != nil {
		return err
	}
	_, err = writeKey(filepath.Join(dir, "sa.key"), key)
	return err
}

// authority is the cluster's own certificate authority.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte // of cert
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t, err := template(pkix.Name{CommonName: "ebpol-test-ca"})
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	text, err := writePEM(filepath.Join(dir, "ca.crt"), "CERTIFICATE", der)
	if err != nil {
		return nil, err
	}
	if _, err := writeKey(filepath.Join(dir, "ca.key"), key); err != nil {
		return nil, err
	}
	return &authority{dir, cert, key, text}, nil
}

// issue writes file.crt and file.key and returns their text. With sans it is
// a server's certificate, without a client's.
func (a *authority) issue(file string, subject pkix.Name, sans []string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t, err := template(subject)
	if err != nil {
		return nil, nil, err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, s := range sans {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if ip := net.ParseIP(s); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, s)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	if certPEM, err = writePEM(filepath.Join(a.dir, file+".crt"), "CERTIFICATE", der); err != nil {
		return nil, nil, err
	}
	keyPEM, err = writeKey(filepath.Join(a.dir, file+".key"), key)
	return certPEM, keyPEM, err
}

func (a *authority) kubeconfig(file, server string, cert, key []byte) error {
	b64 := base64.StdEncoding.EncodeToString
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: ebpol-test, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: ebpol-test, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: ebpol-test, context: {cluster: ebpol-test, user: ebpol-test}}]
current-context: ebpol-test
`, server, b64(a.pem), b64(cert), b64(key))
	return os.WriteFile(filepath.Join(a.dir, file+".kubeconfig"), []byte(text), 0o600)
}

func template(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return writePEM(path, "PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) ([]byte, error) {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return text, os.WriteFile(path, text, 0o600)
}
